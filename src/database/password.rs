//! The password of a preview's role.
//!
//! Refuses to be printed: its `Debug` shows nothing, and it has no `Display`.

use std::fmt;

use sha2::{Digest, Sha256};

/// 64 hexadecimal digits (256 bits), made by the ledger when the preview is first learned.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes.iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Takes back what [`Password::reveal`] gave; `None` unless it is hexadecimal, which is what
    /// lets it stand in SQL and URLs without quoting.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (hex && text.len() == 64).then(|| Self(text.to_owned()))
    }

    /// A mark by which the same password is known again, and which gives nothing of it away: the
    /// first 64 bits of its SHA-256.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.0.as_bytes());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The password itself, for the statement that sets it and the URL that uses it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

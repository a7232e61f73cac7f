//! The password of a preview's login, and which of its two logins it is of.
//!
//! Refuses to be printed: its `Debug` shows nothing, and it has no `Display`.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::preview::PreviewName;

/// Which of a preview's two logins. They take turns when its password is rotated, so that the one in
/// use works until nothing uses it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Login {
    /// The role that owns what the preview makes.
    First,
    /// A role that acts as the first one.
    Second,
}

impl Login {
    /// Whose turn it is after so many rotations.
    pub fn after(rotations: u32) -> Self {
        if rotations.is_multiple_of(2) { Self::First } else { Self::Second }
    }

    /// Whose turn it is not.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// Its role.
    pub fn role(self, name: &PreviewName) -> String {
        match self {
            Self::First => name.role(),
            Self::Second => name.second_role(),
        }
    }
}

/// 64 hexadecimal digits (256 bits), made by the ledger when the preview is first learned, and at each
/// rotation; of one of the two logins.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    text: String,
    login: Login,
}

impl Password {
    /// Takes 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let text = bytes.iter().map(|b| format!("{b:02x}")).collect();
        Self { text, login: Login::First }
    }

    /// Takes back what [`Password::reveal`] gave; `None` unless it is hexadecimal, which is what
    /// lets it stand in SQL and URLs without quoting.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (hex && text.len() == 64).then(|| Self { text: text.to_owned(), login: Login::First })
    }

    /// The same, of this login.
    pub fn of(self, login: Login) -> Self {
        Self { login, ..self }
    }

    /// Whose it is.
    pub fn login(&self) -> Login {
        self.login
    }

    /// A mark by which the same password is known again, and which gives nothing of it away: the
    /// first 64 bits of its SHA-256.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.text.as_bytes());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The password itself, for the statement that sets it and the URL that uses it.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

//! The key that changes are signed with (TSIG, RFC 8945).
//!
//! Refuses to show its secret, and algorithms that are broken or cut short.

use std::fmt;

use data_encoding::BASE64;
use hickory_net::proto::rr::TSigner;
use hickory_net::proto::rr::rdata::tsig::TsigAlgorithm;
use secrecy::{ExposeSecret, SecretString};

use super::super::ask::{absolute, plain};

/// How far the clocks may be apart, in seconds: RFC 8945 §10 recommends it.
const FUDGE_SECONDS: u16 = 300;

/// A TSIG key.
#[derive(Clone)]
pub struct Key(pub(super) TSigner);

impl Key {
    /// Reads a key as BIND's `key` clause has it: its name, `hmac-sha256`, `hmac-sha384` or
    /// `hmac-sha512`, and the secret in base64. The error names the key of `dns.rfc2136` that is
    /// wrong, and why.
    pub fn new(
        name: &str,
        algorithm: &str,
        secret: &SecretString,
    ) -> Result<Self, (&'static str, String)> {
        let kind = match algorithm {
            "hmac-sha256" => TsigAlgorithm::HmacSha256,
            "hmac-sha384" => TsigAlgorithm::HmacSha384,
            "hmac-sha512" => TsigAlgorithm::HmacSha512,
            other => {
                let known = "is none of hmac-sha256, hmac-sha384 and hmac-sha512";
                return Err(("key_algorithm", format!("{other:?} {known}")));
            }
        };
        let name = absolute(name).map_err(|why| ("key_name", why))?;
        let secret = BASE64
            .decode(secret.expose_secret().trim().as_bytes())
            .map_err(|_| ("secret", "is not base64, as tsig-keygen prints it".to_owned()))?;
        if secret.is_empty() {
            return Err(("secret", "is empty".to_owned()));
        }
        let signer = TSigner::new(secret, kind, name, FUDGE_SECONDS);
        signer.map(Self).map_err(|error| ("key_algorithm", error.to_string()))
    }

    /// Its name, as the server knows it.
    pub(super) fn name(&self) -> String {
        plain(self.0.signer_name())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {})", self.name(), self.0.algorithm())
    }
}

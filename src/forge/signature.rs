//! Whether a webhook delivery was signed with one of our secrets: HMAC-SHA256 over the raw body.
//!
//! Refuses SHA-1, a body that was parsed first, and comparisons that stop at the first difference.
//! No error and no `Debug` here carries a secret or a signature.

use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// How many secrets may be active: the one in use and, during a rotation, the other.
pub const MAX_SECRETS: usize = 2;

const DIGEST_BYTES: usize = 32;

/// Why a delivery was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No `X-Hub-Signature-256` header.
    #[error("the delivery is not signed: set a secret on the webhook")]
    Missing,
    /// Not `sha256=` and 64 hexadecimal digits.
    #[error("the signature is not of the form sha256=<64 hexadecimal digits>")]
    Malformed,
    /// Well formed, and made with another secret or over another body.
    #[error("the signature does not match any active webhook secret")]
    Wrong,
}

/// Why a list of secrets was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// There is none, so every delivery would be refused.
    #[error("at least one webhook secret is needed")]
    None,
    /// One of them is empty or blank, so anybody could sign.
    #[error("webhook secret {0} is empty or blank")]
    Blank(usize),
    /// More than a rotation needs: an old one was forgotten.
    #[error("{0} webhook secrets are given; a rotation needs at most {MAX_SECRETS}")]
    TooMany(usize),
}

/// The active webhook secrets.
#[derive(Clone, Debug)]
pub struct WebhookSecrets(Vec<SecretString>);

impl WebhookSecrets {
    /// Takes the active secrets; refuses a list that would let nobody or anybody in.
    pub fn new(secrets: Vec<SecretString>) -> Result<Self, SecretsError> {
        if secrets.is_empty() {
            return Err(SecretsError::None);
        }
        if secrets.len() > MAX_SECRETS {
            return Err(SecretsError::TooMany(secrets.len()));
        }
        match secrets.iter().position(|secret| secret.expose_secret().trim().is_empty()) {
            Some(index) => Err(SecretsError::Blank(index + 1)),
            None => Ok(Self(secrets)),
        }
    }

    /// Checks the `X-Hub-Signature-256` header against the body exactly as it was received.
    pub fn verify(&self, header: Option<&str>, body: &[u8]) -> Result<(), SignatureError> {
        let given = header.ok_or(SignatureError::Missing).and_then(digest)?;
        // Every secret is tried, so that the time does not tell which one matched.
        let matches = self.0.iter().fold(Choice::from(0), |found, secret| {
            found | mac(secret, body).as_slice().ct_eq(given.as_slice())
        });
        if bool::from(matches) { Ok(()) } else { Err(SignatureError::Wrong) }
    }
}

/// The header's value for a body, as the forge would send it.
pub fn sign(secret: &SecretString, body: &[u8]) -> String {
    let digits: String = mac(secret, body).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

fn mac(secret: &SecretString, body: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(body);
    mac.finalize().into_bytes().into()
}

fn digest(header: &str) -> Result<[u8; DIGEST_BYTES], SignatureError> {
    let digits = header.strip_prefix("sha256=").ok_or(SignatureError::Malformed)?.as_bytes();
    if digits.len() != 2 * DIGEST_BYTES {
        return Err(SignatureError::Malformed);
    }
    let mut bytes = [0; DIGEST_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Ok(bytes)
}

fn nibble(digit: u8) -> Result<u8, SignatureError> {
    let value = char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    value.ok_or(SignatureError::Malformed)
}

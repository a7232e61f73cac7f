//! A registry that may be asked, as the configuration allows it.
//!
//! Refuses to print a password.

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

use crate::address::Reach;

/// One entry of the allow-list.
#[derive(Clone, Debug)]
pub struct Registry {
    /// Its host, with the port where images' names have one: `ghcr.io`.
    pub host: String,
    /// Where it stands in the configuration, for who has to change it: `registries[0]`.
    pub key: String,
    /// As whom to ask; as nobody when `None`.
    pub login: Option<Login>,
    /// Whether it speaks plain HTTP. `reach` then holds its configured addresses alone.
    pub insecure: bool,
    /// Which addresses it, and whoever gives out its tokens, may have.
    pub reach: Reach,
    /// Certificates in PEM that are trusted beside this machine's own.
    pub ca_pem: Option<Vec<u8>>,
}

/// A name and a password.
#[derive(Clone)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password, as it was at the start.
    pub password: SecretString,
    /// Where it is read again when it is refused: mounted secrets are rotated in place.
    pub password_file: Option<PathBuf>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .field("password_file", &self.password_file)
            .finish_non_exhaustive()
    }
}

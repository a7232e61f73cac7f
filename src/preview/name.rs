//! The only place where names of outside things are minted.
//!
//! Names come from integers and configured prefixes. This file refuses text that a contributor
//! can choose (branch names, titles), so nothing outside needs quoting against them.

use std::fmt;

use super::facts::PullNumber;
use super::host::{Host, MAX_COMPONENT_BYTES};

/// The longest label that DNS (RFC 1035 §2.3.4), a Kubernetes namespace (RFC 1123 label) and a
/// PostgreSQL identifier (`NAMEDATALEN` − 1) all accept, in bytes.
pub const MAX_NAME_BYTES: usize = 63;

/// The longest repository prefix, in bytes: leaves room for `-pr-` and ten digits.
pub const MAX_PREFIX_BYTES: usize = 40;

/// What a second login's role ends with.
const SECOND: &str = "_b";

/// The name of one preview: `pr-<n>`, or `<prefix>-pr-<n>` where the repository has a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PreviewName {
    prefix: Option<Prefix>,
    number: PullNumber,
}

/// A repository's prefix: lower-case letters and digits, starting with a letter, never `pr`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix(String);

/// Why a name, prefix or suffix was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The prefix breaks the rule above.
    #[error(
        "prefix {0:?} must be 1 to {MAX_PREFIX_BYTES} lower-case letters or digits, start with a letter, and not be \"pr\""
    )]
    Prefix(String),
    /// A component's name breaks its rule.
    #[error(
        "component {0:?} must be 1 to {MAX_COMPONENT_BYTES} lower-case letters, digits or hyphens, start with a letter, and not end with a hyphen"
    )]
    Component(String),
    /// The suffix is not a DNS name under which one more label fits.
    #[error("suffix {0:?} must be a lower-case DNS name such as preview.example.com ({1})")]
    Suffix(String, &'static str),
}

impl Prefix {
    /// Parses a configured prefix.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase());
        let all_well = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !starts_well || !all_well || text.len() > MAX_PREFIX_BYTES || text == "pr" {
            return Err(NameError::Prefix(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The prefix as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PreviewName {
    /// Names the preview of pull request `number` in a repository with this prefix.
    pub fn new(prefix: Option<Prefix>, number: PullNumber) -> Self {
        let name = Self { prefix, number };
        debug_assert!(name.namespace().len() <= MAX_NAME_BYTES);
        name
    }

    /// Reads a namespace name back; `None` for anything that this room would not have minted.
    pub fn parse(namespace: &str) -> Option<Self> {
        let (prefix, digits) = match namespace.strip_prefix("pr-") {
            Some(digits) => (None, digits),
            None => {
                let (prefix, digits) = namespace.split_once("-pr-")?;
                (Some(Prefix::parse(prefix).ok()?), digits)
            }
        };
        let number = PullNumber::parse(digits)?;
        let name = Self { prefix, number };
        (name.namespace() == namespace).then_some(name)
    }

    /// Reads a database or role name back, as [`PreviewName::parse`] does.
    pub fn parse_database(database: &str) -> Option<Self> {
        if database.contains('-') {
            return None;
        }
        Self::parse(&database.replace('_', "-"))
    }

    /// The namespace, and the host's first label: `pr-7`.
    pub fn namespace(&self) -> String {
        match &self.prefix {
            Some(prefix) => format!("{}-pr-{}", prefix.0, self.number),
            None => format!("pr-{}", self.number),
        }
    }

    /// The database: `pr_7`, an identifier that needs no quotes.
    pub fn database(&self) -> String {
        self.namespace().replace('-', "_")
    }

    /// The role that the preview's workload logs in as; spelled as the database is.
    pub fn role(&self) -> String {
        self.database()
    }

    /// The role of the second login, whose turn it is at every other rotation of the password.
    pub fn second_role(&self) -> String {
        format!("{}{SECOND}", self.role())
    }

    /// Reads a role's name back, of either login.
    pub fn parse_role(role: &str) -> Option<Self> {
        Self::parse_database(role.strip_suffix(SECOND).unwrap_or(role))
    }

    /// The host that reviewers click: `pr-7.preview.example.com`.
    pub fn host(&self, suffix: &Suffix) -> String {
        Host::from(self).full(suffix)
    }

    /// The repository's prefix, if it has one.
    pub fn prefix(&self) -> Option<&Prefix> {
        self.prefix.as_ref()
    }

    /// The pull request's number.
    pub fn number(&self) -> PullNumber {
        self.number
    }
}

impl fmt::Display for PreviewName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.namespace())
    }
}

/// The DNS name under which every preview is one label: `preview.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suffix(String);

impl Suffix {
    /// Parses a configured suffix: RFC 1035 letters, digits and hyphens, lower case, and short
    /// enough that a 63-byte label and a dot still fit into 253 bytes.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let refuse = |why| Err(NameError::Suffix(text.to_owned(), why));
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.len() > 253 - MAX_NAME_BYTES - 1 {
            return refuse("it is too long for a host under it");
        }
        for label in text.split('.') {
            if label.is_empty() || label.len() > MAX_NAME_BYTES {
                return refuse("each label has 1 to 63 bytes; no leading or trailing dot");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return refuse("a label starts and ends with a letter or digit");
            }
            if !label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
                return refuse("only lower-case letters, digits, hyphens and dots");
            }
        }
        if text.parse::<std::net::Ipv4Addr>().is_ok() {
            return refuse("it is an address, not a name");
        }
        Ok(Self(text.to_owned()))
    }

    /// The suffix without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where previews are reached from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The suffix of every host.
    pub suffix: Suffix,
    /// Whether browsers reach it over TLS.
    pub https: bool,
    /// The port, where it is not the scheme's own.
    pub port: Option<u16>,
}

impl Site {
    /// The URL that reviewers click: `http://pr-7.preview.localhost:8080/`.
    pub fn url(&self, name: &PreviewName) -> String {
        self.url_of(&name.into())
    }

    /// The URL of one of a preview's hosts.
    pub fn url_of(&self, host: &Host) -> String {
        let scheme = if self.https { "https" } else { "http" };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{}{port}/", host.full(&self.suffix))
    }
}

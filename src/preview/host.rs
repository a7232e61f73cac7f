//! The public hosts of a preview: its own, and one for each component that the public reaches.
//!
//! A host is one label under the suffix, so that one wildcard record and one wildcard certificate are
//! enough for all. Refuses a label that could be read as another preview's.

use std::fmt;

use super::facts::PullNumber;
use super::name::{MAX_NAME_BYTES, NameError, Prefix, PreviewName, Suffix};

/// The longest name of a component, in bytes: leaves room for a revision behind it in a Service's name,
/// which is one DNS label.
pub const MAX_COMPONENT_BYTES: usize = 20;

/// The name of a component: lower-case letters, digits and hyphens, from a letter to none of those.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentName(String);

impl ComponentName {
    /// Parses a configured name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase());
        let all_well =
            text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !starts_well || !all_well || text.ends_with('-') || text.len() > MAX_COMPONENT_BYTES {
            return Err(NameError::Component(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether its host and its database have names that fit, whatever the pull request's number.
    pub fn fits(&self, prefix: Option<&Prefix>) -> bool {
        let longest = PreviewName::new(prefix.cloned(), PullNumber::MAX);
        self.database(&longest).len() <= MAX_NAME_BYTES
    }

    /// Its own database in a preview: `pr_7__api`. No preview has two underscores in its name.
    pub fn database(&self, of: &PreviewName) -> String {
        format!("{}__{}", of.database(), self.0.replace('-', "_"))
    }

    /// Reads the name of a component's database back.
    pub fn parse_database(text: &str) -> Option<(PreviewName, Self)> {
        let (preview, component) = text.split_once("__")?;
        let component = Self::parse(&component.replace('_', "-")).ok()?;
        let preview = PreviewName::parse_database(preview)?;
        (component.database(&preview) == text).then_some((preview, component))
    }
}

impl fmt::Display for ComponentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One public host: `pr-7`, or `pr-7-api`, under the suffix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host {
    /// Whose.
    pub name: PreviewName,
    /// Which of its components answers; the preview's own host when `None`.
    pub component: Option<ComponentName>,
}

impl Host {
    /// The host of a component.
    pub fn of(name: &PreviewName, component: Option<&ComponentName>) -> Self {
        Self { name: name.clone(), component: component.cloned() }
    }

    /// Its one label.
    pub fn label(&self) -> String {
        match &self.component {
            Some(component) => format!("{}-{component}", self.name),
            None => self.name.namespace(),
        }
    }

    /// Reads a label back; `None` for anything that this room would not have minted.
    pub fn parse(label: &str) -> Option<Self> {
        // A prefix is never "pr" and has no hyphen: the first "pr" is before the number.
        let after = match label.strip_prefix("pr-") {
            Some(_) => "pr-".len(),
            None => label.find("-pr-")? + "-pr-".len(),
        };
        let Some(end) = label[after..].find('-').map(|at| after + at) else {
            return PreviewName::parse(label).map(|name| Self { name, component: None });
        };
        let name = PreviewName::parse(&label[..end])?;
        let component = ComponentName::parse(&label[end + 1..]).ok()?;
        Some(Self { name, component: Some(component) })
    }

    /// The whole name: `pr-7-api.preview.example.com`.
    pub fn full(&self, suffix: &Suffix) -> String {
        format!("{}.{}", self.label(), suffix.as_str())
    }
}

impl From<&PreviewName> for Host {
    fn from(name: &PreviewName) -> Self {
        Self::of(name, None)
    }
}

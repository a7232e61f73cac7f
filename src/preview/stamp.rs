//! The ownership mark that every outside thing carries.
//!
//! What does not carry this installation's stamp is never adopted, changed or deleted, even when
//! its name is one that we would have minted.

use super::name::PreviewName;

/// Who owns a thing: which installation, and for which preview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The installation's name, from the configuration.
    pub instance: String,
    /// The preview's namespace name.
    pub preview: String,
}

impl Stamp {
    /// The stamp of a preview's things.
    pub fn new(instance: &str, name: &PreviewName) -> Self {
        Self { instance: instance.to_owned(), preview: name.namespace() }
    }

    /// One line, as a TXT record, file, label or comment carries it.
    pub fn line(&self) -> String {
        format!("mayfly={}/{}", self.instance, self.preview)
    }

    /// Reads [`Stamp::line`] back.
    pub fn parse(line: &str) -> Option<Self> {
        let (instance, preview) = line.trim().strip_prefix("mayfly=")?.split_once('/')?;
        Some(Self { instance: instance.to_owned(), preview: preview.to_owned() })
    }
}

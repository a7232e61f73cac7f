//! What a preview's database is seeded with: schema and rows, in order, as one digest.
//!
//! Read once from the controller's own files; never from a pull request, and never real data.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// One SQL file of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedFile {
    /// Path below the seed's directory, with `/`.
    pub path: String,
    /// Its SQL. `COPY … FROM stdin` blocks are allowed, as `pg_dump` writes them.
    pub sql: String,
}

/// All files of a seed in the order in which they run, and their digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    files: Vec<SeedFile>,
    extensions: Vec<String>,
    digest: String,
}

/// Why a seed could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// A directory or file could not be read.
    #[error("reading seed {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An extension's name is not an identifier.
    #[error("extension {0:?} must be a name such as pgcrypto or uuid-ossp")]
    Extension(String),
}

impl Seed {
    /// Reads every `*.sql` file below the directories, each directory's files sorted by path. What
    /// is hidden, its name beginning with a dot, is no part of a seed.
    pub fn read(directories: &[PathBuf], extensions: &[String]) -> Result<Self, SeedError> {
        let mut files = Vec::new();
        for directory in directories {
            let mut found = Vec::new();
            collect(directory, directory, &mut found)?;
            found.sort_by(|a: &SeedFile, b| a.path.cmp(&b.path));
            files.extend(found);
        }
        Self::new(files, extensions)
    }

    /// Takes files that are already in memory, in this order.
    pub fn new(files: Vec<SeedFile>, extensions: &[String]) -> Result<Self, SeedError> {
        for extension in extensions {
            let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
            if extension.is_empty() || extension.len() > 63 || !extension.chars().all(fine) {
                return Err(SeedError::Extension(extension.clone()));
            }
        }
        let mut hash = Sha256::new();
        let parts = files.iter().flat_map(|file| [file.path.as_str(), file.sql.as_str()]);
        for part in parts.chain(extensions.iter().map(String::as_str)) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { files, extensions: extensions.to_vec(), digest })
    }

    /// The files in the order in which they run.
    pub fn files(&self) -> &[SeedFile] {
        &self.files
    }

    /// Extensions that the administrator's role creates before the files run.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// SHA-256 over paths, contents and extensions, as 64 hexadecimal digits: equal seeds share
    /// one template.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

fn collect(root: &Path, directory: &Path, found: &mut Vec<SeedFile>) -> Result<(), SeedError> {
    let fail = |source| SeedError::Read { path: directory.to_owned(), source };
    for entry in std::fs::read_dir(directory).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        // A mounted ConfigMap keeps each file three times: `..data` and what it points to are hidden.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "sql") {
            let sql = std::fs::read_to_string(&path)
                .map_err(|source| SeedError::Read { path: path.clone(), source })?;
            let relative = path.strip_prefix(root).unwrap_or(&path);
            found.push(SeedFile { path: relative.to_string_lossy().into_owned(), sql });
        }
    }
    Ok(())
}

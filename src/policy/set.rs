//! A set of profiles under one hash: a directory of `*.toml`, bounded, all valid or none.

use super::decide::Refusals;
use super::problem::{Problem, Source};
use super::profile::Profile;
use crate::types::ProfileName;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most profile files in one set.
pub const MAX_FILES: usize = 256;
/// Largest profile file, in bytes.
pub const MAX_FILE: u64 = 64 * 1024;

/// Why a policy directory is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file or directory cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// Path.
        path: PathBuf,
        /// The operating system's reason, or the bound that it breaks.
        reason: String,
    },
    /// Profiles with problems.
    #[error("{}", render(.0))]
    Problems(Vec<Problem>),
}

fn render(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Valid profiles with unique names.
#[derive(Clone, Debug)]
pub struct PolicySet {
    profiles: BTreeMap<String, Profile>,
    hash: [u8; 32],
}

impl PolicySet {
    /// Loads every `*.toml` of a directory; one bad file refuses them all.
    pub fn load(dir: &Path) -> Result<Self, PolicyError> {
        Self::from_sources(&read_directory(dir)?).map_err(PolicyError::Problems)
    }

    /// Builds a set from files in memory.
    pub fn from_sources(sources: &[Source]) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut profiles = BTreeMap::new();
        let mut hash = Sha256::new();
        hash.update(b"sealwright policy v1\n");
        let mut parsed: Vec<(Profile, &Source)> = Vec::new();
        for source in sources {
            match Profile::parse(source) {
                Ok(profile) => parsed.push((profile, source)),
                Err(found) => problems.extend(found),
            }
        }
        parsed.sort_by(|a, b| a.0.name.as_str().cmp(b.0.name.as_str()));
        for (profile, source) in &parsed {
            // Length-prefixed, so that no two different sets have one encoding.
            for part in [profile.name.as_str(), &source.text] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part.as_bytes());
            }
        }
        let hash: [u8; 32] = hash.finalize().into();
        for (mut profile, source) in parsed {
            profile.policy_hash = hash;
            let name = profile.name.as_str().to_owned();
            if profiles.insert(name.clone(), profile).is_some() {
                let at = source.text.find(&name).unwrap_or(0);
                problems.push(Problem::at(
                    source,
                    at..at + name.len(),
                    format!("profile '{name}' exists already"),
                    "rename or remove one of them",
                ));
            }
        }
        if problems.is_empty() { Ok(Self { profiles, hash }) } else { Err(problems) }
    }

    /// SHA-256 over names and contents, the same whatever the order or place of the files.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The profile of that name.
    pub fn get(&self, name: &ProfileName) -> Option<&Profile> {
        self.profiles.get(name.as_str())
    }

    /// The profile of that name, or the refusal to give to the caller.
    pub fn require(&self, name: &ProfileName) -> Result<&Profile, Refusals> {
        self.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.profiles.keys().map(String::as_str).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Refusals::one("profile", format!("there is no profile '{name}'"), format!("known profiles: {known}"))
        })
    }

    /// Profiles by name.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.values()
    }
}

/// Reads every `*.toml` of a directory, in order of name, within the bounds.
pub fn read_directory(dir: &Path) -> Result<Vec<Source>, PolicyError> {
    let broken = |e: std::io::Error| PolicyError::Read { path: dir.to_owned(), reason: e.to_string() };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(broken)? {
        let path = entry.map_err(broken)?.path();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if path.extension().is_some_and(|e| e == "toml") && !hidden {
            paths.push(path);
        }
        if paths.len() > MAX_FILES {
            return Err(PolicyError::Read { path: dir.to_owned(), reason: format!("more than {MAX_FILES} profiles") });
        }
    }
    paths.sort();
    paths.iter().map(|path| read_source(path)).collect()
}

/// Reads one profile file within its bound.
pub fn read_source(path: &Path) -> Result<Source, PolicyError> {
    let broken = |reason: String| PolicyError::Read { path: path.to_owned(), reason };
    let mut text = String::new();
    let file = File::open(path).map_err(|e| broken(e.to_string()))?;
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|e| broken(e.to_string()))?;
    if text.len() as u64 > MAX_FILE {
        return Err(broken(format!("a profile has at most {MAX_FILE} bytes")));
    }
    Ok(Source { name: path.display().to_string(), text })
}

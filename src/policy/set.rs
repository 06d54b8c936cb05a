//! A set of profiles under one hash: a directory of `*.toml`, bounded, all valid or none.

use super::decide::Refusals;
use super::problem::{Problem, Source};
use super::profile::Profile;
use super::spec::Spec;
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

    /// Builds a set from files in memory: each profile after what it extends.
    pub fn from_sources(sources: &[Source]) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut specs: Vec<(Spec, &Source)> = Vec::new();
        for source in sources {
            match Spec::read(source) {
                Ok(spec) => specs.push((spec, source)),
                Err(problem) => problems.push(problem),
            }
        }
        specs.sort_by(|a, b| a.0.name.get_ref().cmp(b.0.name.get_ref()));
        let hash = hash(&specs);
        let mut profiles = BTreeMap::new();
        for (spec, source) in &specs {
            match flatten(spec, source, &specs).and_then(|(flat, inherited)| Profile::build(&flat, source, inherited)) {
                Err(found) => problems.extend(found),
                Ok(mut profile) => {
                    profile.policy_hash = hash;
                    if profiles.insert(profile.name.as_str().to_owned(), profile).is_some() {
                        let message = format!("profile '{}' exists already", spec.name.get_ref());
                        problems.push(Problem::at(source, spec.name.span(), message, "rename or remove one of them"));
                    }
                }
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

fn hash(specs: &[(Spec, &Source)]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"sealwright policy v1\n");
    for (spec, source) in specs {
        // Length-prefixed, so that no two different sets have one encoding.
        for part in [spec.name.get_ref(), &source.text] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
    }
    hash.finalize().into()
}

/// Takes over the sections of the profile that `spec` extends: one level, so that a reader has
/// two files to look at and never more.
fn flatten(spec: &Spec, source: &Source, all: &[(Spec, &Source)]) -> Result<(Spec, Vec<&'static str>), Vec<Problem>> {
    let mut flat = spec.clone();
    let Some(extends) = &spec.extends else { return Ok((flat, Vec::new())) };
    let problem = |message: String, remedy: &str| vec![Problem::at(source, extends.span(), message, remedy)];
    let name = extends.get_ref();
    let parent = all.iter().map(|(s, _)| s).find(|s| s.name.get_ref() == name).ok_or_else(|| {
        let message = format!("profile '{name}', which this one extends, is not among the files");
        problem(message, "name a profile of the same set, or check the whole directory")
    })?;
    if parent.extends.is_some() {
        return Err(problem(format!("profile '{name}' extends another one itself"), "extend that one; only one level is allowed"));
    }
    let inherited = flat.inherit(parent);
    Ok((flat, inherited))
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

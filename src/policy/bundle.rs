//! Signed policy bundles: a manifest that names every profile by hash, chained to the manifest
//! before it, approved by at least M people with SSHSIG in the namespace [`NAMESPACE`].
//!
//! A bundle is a directory: `*.toml`, `MANIFEST`, and `approvals/*.sig` as `ssh-keygen -Y sign`
//! writes them over the manifest. [`ActivePolicy`] moves from one to the next and never back.

use super::problem::{Problem, Source};
use super::set::{PolicyError, PolicySet, read_directory};
use crate::approval::Roster;
use crate::durable;
use crate::types::Invalid;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// SSHSIG namespace of approvals.
pub const NAMESPACE: &str = "policy@sealwright";
const MANIFEST_TITLE: &str = "sealwright policy bundle v1";
const HEAD_TITLE: &str = "sealwright policy head v1";
/// Largest manifest: 256 profiles with names of 64 characters.
const MAX_MANIFEST: u64 = 64 * 1024;
/// Most approvals looked at, and largest of them.
const MAX_APPROVALS: usize = 100;
const MAX_APPROVAL: u64 = 16 * 1024;

/// Why a bundle is not taken.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// Path.
        path: PathBuf,
        /// Reason.
        reason: String,
    },
    /// The profiles.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The manifest does not read or does not fit the files.
    #[error("the manifest does not hold: {0}; seal the bundle again and have it approved again")]
    Manifest(String),
    /// Too few valid approvals.
    #[error("{have} of {need} approvals count ({detail}); sign MANIFEST with ssh-keygen -Y sign -n {NAMESPACE}")]
    Approvals {
        /// People whose signature counts.
        have: usize,
        /// Threshold.
        need: usize,
        /// Why others do not.
        detail: String,
    },
    /// Not newer than what is active.
    #[error("version {offered} does not follow version {active}, which is active: a policy is never rolled back; seal a newer version")]
    Rollback {
        /// Version of the bundle.
        offered: u64,
        /// Active version.
        active: u64,
    },
    /// Sealed after another manifest than the active one.
    #[error("the bundle follows manifest {0}, which is not the active one; seal it again after the active manifest")]
    Chain(String),
}

/// What the signatures are about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    version: u64,
    previous: Option<[u8; 32]>,
    policy: [u8; 32],
    files: Vec<(String, [u8; 32])>,
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn shown(hash: &[u8; 32]) -> String {
    format!("sha256:{}", hex::encode(hash))
}

fn read_hash(text: &str) -> Result<[u8; 32], Invalid> {
    let digits = text.strip_prefix("sha256:").and_then(|d| hex::decode(d).ok());
    digits.and_then(|d| d.try_into().ok()).ok_or_else(|| Invalid::new("hash", format!("'{text}' is not sha256: and 64 hexadecimal digits")))
}

/// File name without its directory.
fn base_name(source: &Source) -> String {
    Path::new(&source.name).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

impl Manifest {
    /// The manifest of these profiles, as version 1 or after `previous`.
    pub fn seal(sources: &[Source], previous: Option<&Self>) -> Result<Self, Vec<Problem>> {
        let set = PolicySet::from_sources(sources)?;
        let mut files: Vec<(String, [u8; 32])> = sources.iter().map(|s| (base_name(s), digest(s.text.as_bytes()))).collect();
        files.sort();
        let version = previous.map_or(1, |p| p.version.saturating_add(1));
        Ok(Self { version, previous: previous.map(Self::hash), policy: *set.hash(), files })
    }

    /// The text that people sign.
    pub fn text(&self) -> String {
        let previous = self.previous.as_ref().map_or_else(|| "none".to_owned(), shown);
        let mut text = format!("{MANIFEST_TITLE}\nversion {}\nprevious {previous}\npolicy {}\n", self.version, shown(&self.policy));
        for (name, hash) in &self.files {
            text.push_str(&format!("profile {name} {}\n", shown(hash)));
        }
        text
    }

    /// Reads the text; anything but exactly what [`Manifest::text`] writes is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bad = |reason: &str| Invalid::new("manifest", reason.to_owned());
        let mut lines = text.lines();
        if lines.next() != Some(MANIFEST_TITLE) {
            return Err(bad(&format!("the first line is not '{MANIFEST_TITLE}'")));
        }
        let mut field = |name: &str| {
            lines.next().and_then(|l| l.strip_prefix(name)).ok_or_else(|| bad(&format!("no '{}' where expected", name.trim())))
        };
        let version = field("version ")?.parse().ok().filter(|v| *v >= 1).ok_or_else(|| bad("the version is not a number from 1"))?;
        let previous = match field("previous ")? {
            "none" => None,
            hash => Some(read_hash(hash)?),
        };
        let policy = read_hash(field("policy ")?)?;
        let mut files = Vec::new();
        for line in lines {
            let words = line.strip_prefix("profile ").and_then(|l| l.split_once(' '));
            let (name, hash) = words.ok_or_else(|| bad("a line is not 'profile NAME HASH'"))?;
            files.push((name.to_owned(), read_hash(hash)?));
        }
        let manifest = Self { version, previous, policy, files };
        if manifest.text() == text { Ok(manifest) } else { Err(bad("not in its one canonical form")) }
    }

    /// SHA-256 of the text: how the next manifest and the head name this one.
    pub fn hash(&self) -> [u8; 32] {
        digest(self.text().as_bytes())
    }

    /// Version, from 1.
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// Which manifest is active.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    version: u64,
    manifest: [u8; 32],
}

impl Head {
    /// The head that a manifest would be.
    pub fn of(manifest: &Manifest) -> Self {
        Self { version: manifest.version, manifest: manifest.hash() }
    }

    fn text(&self) -> String {
        format!("{HEAD_TITLE}\nversion {}\nmanifest {}\n", self.version, shown(&self.manifest))
    }

    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(HEAD_TITLE)?.strip_prefix("\nversion ")?;
        let (version, rest) = rest.split_once("\nmanifest ")?;
        let head = Self { version: version.parse().ok()?, manifest: read_hash(rest.strip_suffix('\n')?).ok()? };
        (head.text() == text).then_some(head)
    }

    /// Refuses what does not directly follow this head.
    fn admits(&self, manifest: &Manifest) -> Result<(), BundleError> {
        if manifest.version <= self.version {
            return Err(BundleError::Rollback { offered: manifest.version, active: self.version });
        }
        match manifest.previous {
            Some(previous) if previous == self.manifest => Ok(()),
            other => Err(BundleError::Chain(other.as_ref().map_or_else(|| "none".to_owned(), shown))),
        }
    }
}

/// A bundle whose files, manifest and approvals hold.
#[derive(Clone, Debug)]
pub struct Bundle {
    set: PolicySet,
    manifest: Manifest,
    approved_by: Vec<String>,
}

impl Bundle {
    /// Reads a bundle; at least `need` different people of the roster must have signed it at `now`.
    pub fn open(dir: &Path, roster: &Roster, need: usize, now: i64) -> Result<Self, BundleError> {
        let text = read(&dir.join("MANIFEST"), MAX_MANIFEST)?;
        let manifest = String::from_utf8(text.clone()).map_err(|_| BundleError::Manifest("not UTF-8".into()))?;
        let manifest = Manifest::parse(&manifest).map_err(|e| BundleError::Manifest(e.to_string()))?;
        let sources = read_directory(dir)?;
        let mut files: Vec<(String, [u8; 32])> = sources.iter().map(|s| (base_name(s), digest(s.text.as_bytes()))).collect();
        files.sort();
        if files != manifest.files {
            let differs = files.iter().chain(&manifest.files).find(|f| !files.contains(f) || !manifest.files.contains(f));
            let name = differs.map_or("a file", |f| f.0.as_str());
            return Err(BundleError::Manifest(format!("{name} is missing, added or changed")));
        }
        let set = PolicySet::from_sources(&sources).map_err(PolicyError::Problems)?;
        if *set.hash() != manifest.policy {
            return Err(BundleError::Manifest("the policy hash differs".into()));
        }
        let approved_by = approvals(dir, roster, need.max(1), &text, now)?;
        Ok(Self { set, manifest, approved_by })
    }

    /// The profiles.
    pub fn set(&self) -> &PolicySet {
        &self.set
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Names of the people whose approvals count.
    pub fn approved_by(&self) -> &[String] {
        &self.approved_by
    }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, BundleError> {
    let broken = |reason: String| BundleError::File { path: path.to_owned(), reason };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| broken(e.to_string()))?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| broken(e.to_string()))?;
    if bytes.len() as u64 > limit { Err(broken(format!("larger than {limit} bytes"))) } else { Ok(bytes) }
}

fn approvals(dir: &Path, roster: &Roster, need: usize, message: &[u8], now: i64) -> Result<Vec<String>, BundleError> {
    let folder = dir.join("approvals");
    let entries = std::fs::read_dir(&folder).map_err(|e| BundleError::File { path: folder.clone(), reason: e.to_string() })?;
    let mut paths: Vec<PathBuf> =
        entries.filter_map(|e| e.ok().map(|e| e.path())).filter(|p| p.extension().is_some_and(|e| e == "sig")).collect();
    paths.sort();
    paths.truncate(MAX_APPROVALS);
    let (mut people, mut refused) = (BTreeSet::new(), Vec::new());
    for path in &paths {
        match roster.verify(NAMESPACE, message, &read(path, MAX_APPROVAL)?, now) {
            Ok(person) => {
                people.insert(person.name().to_owned());
            }
            Err(reason) => refused.push(format!("{}: {reason}", path.display())),
        }
    }
    if people.len() < need {
        let detail = if refused.is_empty() { "no more signatures in approvals/".to_owned() } else { refused.join("; ") };
        return Err(BundleError::Approvals { have: people.len(), need, detail });
    }
    Ok(people.into_iter().collect())
}

/// The policy that decides now. A request takes [`ActivePolicy::current`] once and is decided
/// under that set to its end, whatever is activated meanwhile.
#[derive(Debug)]
pub struct ActivePolicy {
    head_file: PathBuf,
    state: RwLock<(Head, Arc<PolicySet>)>,
}

impl ActivePolicy {
    /// Starts with a bundle. With a head file it must be the active bundle or directly follow it;
    /// without one it becomes the first.
    pub fn start(head_file: &Path, bundle: Bundle) -> Result<Self, BundleError> {
        let head = Head::of(&bundle.manifest);
        if head_file.exists() {
            let text = String::from_utf8_lossy(&read(head_file, 1024)?).into_owned();
            let broken = || BundleError::File { path: head_file.to_owned(), reason: "not a policy head; restore it from a backup".into() };
            let active = Head::parse(&text).ok_or_else(broken)?;
            if active != head {
                active.admits(&bundle.manifest)?;
            }
        }
        write_head(head_file, &head)?;
        Ok(Self { head_file: head_file.to_owned(), state: RwLock::new((head, Arc::new(bundle.set))) })
    }

    /// Moves to the bundle that follows the active one: durable first, then for every new request.
    pub fn activate(&self, bundle: Bundle) -> Result<(), BundleError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.0.admits(&bundle.manifest)?;
        let head = Head::of(&bundle.manifest);
        write_head(&self.head_file, &head)?;
        *state = (head, Arc::new(bundle.set));
        Ok(())
    }

    /// The active set.
    pub fn current(&self) -> Arc<PolicySet> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Version of the active manifest.
    pub fn version(&self) -> u64 {
        self.state.read().unwrap_or_else(PoisonError::into_inner).0.version
    }
}

fn write_head(path: &Path, head: &Head) -> Result<(), BundleError> {
    durable::replace(path, head.text().as_bytes(), 0o600).map_err(|e| BundleError::File { path: path.to_owned(), reason: e.to_string() })
}

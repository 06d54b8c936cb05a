//! The daemon's configuration: TOML as written, checked into [`Config`].

use crate::types::{Invalid, ProfileName};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest configuration file, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// Why a configuration is refused; the text names file and place.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct ConfigError {
    file: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    version: u32,
    token: TokenSpec,
    issuer: IssuerSpec,
    log: LogSpec,
    store: DirectorySpec,
    policy: DirectorySpec,
    socket: SocketSpec,
    role: Vec<RoleSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenSpec {
    module: PathBuf,
    uri: String,
    pin_file: Option<PathBuf>,
    pin_fd: Option<u32>,
    #[serde(default = "two")]
    sessions: usize,
    guard: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerSpec {
    chain: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogSpec {
    directory: PathBuf,
    origin: String,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectorySpec {
    directory: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SocketSpec {
    path: PathBuf,
    #[serde(default = "owner_and_group")]
    mode: u32,
    #[serde(default = "connections")]
    max_connections: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleSpec {
    name: String,
    uids: Vec<u32>,
    profiles: Vec<String>,
}

fn two() -> usize {
    2
}

fn owner_and_group() -> u32 {
    0o660
}

fn connections() -> usize {
    1024
}

/// Where the PIN of the token comes from; never the configuration itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// A file of mode 0600.
    File(PathBuf),
    /// An inherited descriptor.
    Descriptor(u32),
}

/// What a role may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Name, as profiles refer to it.
    pub name: String,
    /// Profiles that it may use.
    pub profiles: Vec<ProfileName>,
}

/// A checked configuration. Relative paths are taken from the file's directory.
#[derive(Clone, Debug)]
pub struct Config {
    /// PKCS#11 module.
    pub module: PathBuf,
    /// RFC 7512 URI of the token, by serial or label.
    pub token_uri: String,
    /// Source of the PIN.
    pub pin: PinSource,
    /// Signing sessions to keep open, 1 to 64.
    pub sessions: usize,
    /// Guard file of the signer process; without one the daemon holds the module itself.
    pub guard: Option<PathBuf>,
    /// PEM file: issuing certificate first, then up to the root or the one below.
    pub chain: PathBuf,
    /// Directory of the transparency log.
    pub log_directory: PathBuf,
    /// Origin line of its checkpoints (C2SP tlog-checkpoint).
    pub log_origin: String,
    /// Fingerprint of the log key in the token.
    pub log_key: crate::types::Fingerprint,
    /// Directory of the store.
    pub store: PathBuf,
    /// Directory of the policy files.
    pub policy: PathBuf,
    /// Path of the listening socket.
    pub socket: PathBuf,
    /// Permission bits of the socket.
    pub socket_mode: u32,
    /// Most connections at a time.
    pub max_connections: usize,
    roles: Vec<Role>,
    by_uid: BTreeMap<u32, usize>,
}

impl Config {
    /// Reads and checks a file.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let fail = |reason: String| ConfigError { file: file.display().to_string(), reason };
        let size = std::fs::metadata(file).map_err(|e| fail(e.to_string()))?.len();
        if size > MAX_FILE {
            return Err(fail(format!("has {size} bytes; a configuration has at most {MAX_FILE}")));
        }
        let text = std::fs::read_to_string(file).map_err(|e| fail(e.to_string()))?;
        let spec: Spec = toml::from_str(&text).map_err(|e| fail(e.to_string()))?;
        let base = file.parent().unwrap_or(Path::new("."));
        Self::check(spec, base).map_err(|e| fail(e.to_string()))
    }

    fn check(spec: Spec, base: &Path) -> Result<Self, Invalid> {
        let Spec { version, token, issuer, log, store, policy, socket, role } = spec;
        let TokenSpec { module, uri, pin_file, pin_fd, sessions, guard } = token;
        if version != 1 {
            return Err(Invalid::new("version", format!("is {version}; this program reads version 1")));
        }
        let pin = match (pin_file, pin_fd) {
            (Some(path), None) => PinSource::File(base.join(path)),
            (None, Some(fd)) if fd > 2 => PinSource::Descriptor(fd),
            _ => return Err(Invalid::new("token", "give exactly one of pin_file (mode 0600) and pin_fd (above 2)")),
        };
        // A signer that is started again reads its PIN again; a pipe gives it once.
        if guard.is_some() && !matches!(pin, PinSource::File(_)) {
            return Err(Invalid::new("token.guard", "needs pin_file: the signer process reads the PIN at each of its starts"));
        }
        if !(1..=64).contains(&sessions) {
            return Err(Invalid::new("token.sessions", "must be 1 to 64"));
        }
        if !(1..=65_536).contains(&socket.max_connections) {
            return Err(Invalid::new("socket.max_connections", "must be 1 to 65536"));
        }
        if socket.mode & !0o666 != 0 {
            return Err(Invalid::new("socket.mode", "may hold read and write bits only, e.g. 0o660"));
        }
        let (roles, by_uid) = check_roles(role)?;
        Ok(Self {
            module,
            token_uri: uri,
            pin,
            sessions,
            guard: guard.map(|path| base.join(path)),
            chain: base.join(issuer.chain),
            log_directory: base.join(log.directory),
            log_origin: log.origin,
            log_key: crate::types::Fingerprint::parse(&log.key)?,
            store: base.join(store.directory),
            policy: base.join(policy.directory),
            socket: base.join(socket.path),
            socket_mode: socket.mode,
            max_connections: socket.max_connections,
            roles,
            by_uid,
        })
    }

    /// The role of a kernel-attested uid; `None` is refused (P2).
    pub fn role(&self, uid: u32) -> Option<&Role> {
        self.by_uid.get(&uid).and_then(|i| self.roles.get(*i))
    }

    /// All roles.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }
}

fn check_roles(specs: Vec<RoleSpec>) -> Result<(Vec<Role>, BTreeMap<u32, usize>), Invalid> {
    let mut roles: Vec<Role> = Vec::new();
    let mut by_uid = BTreeMap::new();
    for (index, RoleSpec { name, uids, profiles }) in specs.into_iter().enumerate() {
        // A role is spelled like a profile.
        ProfileName::parse(&name).map_err(|e| Invalid::new("role.name", e.reason))?;
        if roles.iter().any(|r| r.name == name) {
            return Err(Invalid::new("role.name", format!("'{name}' occurs twice")));
        }
        for uid in uids {
            if by_uid.insert(uid, index).is_some() {
                return Err(Invalid::new("role.uids", format!("uid {uid} is in two roles; give each uid one role")));
            }
        }
        let profiles = profiles.iter().map(|p| ProfileName::parse(p)).collect::<Result<_, _>>()?;
        roles.push(Role { name, profiles });
    }
    Ok((roles, by_uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
version = 1
[token]
module = "/usr/lib/softhsm/libsofthsm2.so"
uri = "pkcs11:serial=1"
pin_file = "pin"
[issuer]
chain = "chain.pem"
[log]
directory = "log"
origin = "example/log"
key = "0000000000000000000000000000000000000000000000000000000000000000"
[store]
directory = "store"
[policy]
directory = "policies"
[socket]
path = "s"
[[role]]
name = "station"
uids = [1000, 1001]
profiles = ["generic-device"]
"#;

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|e| e.to_string())
    }

    #[test]
    fn uids_map_to_one_role_and_others_to_none() {
        let config = load(GOOD).unwrap();
        assert_eq!(config.role(1001).unwrap().name, "station");
        assert!(config.role(0).is_none());
    }

    #[test]
    fn typos_and_contradictions_are_named() {
        for (from, to, want) in [
            ("uri =", "urj =", "unknown field `urj`"),
            ("version = 1", "version = 2", "reads version 1"),
            ("pin_file = \"pin\"", "", "exactly one of pin_file"),
            ("uids = [1000, 1001]", "uids = [1000, 1000]", "two roles"),
            ("[store]\ndirectory = \"store\"", "", "missing field `store`"),
        ] {
            let error = load(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }
}

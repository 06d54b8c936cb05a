//! C2SP tlog-policy files: which logs are accepted and which witnesses must have cosigned.

use super::LogError;
use super::checkpoint::SignedCheckpoint;
use super::note::Note;
use super::vkey::{NoteKeyType, VerifierKey};
use std::collections::HashMap;

/// Most lines of a policy that define something.
const MAX_LINES: usize = 128;
/// Name that stands for "no witness needed".
const NONE: &str = "none";

/// A name in the policy: one witness, or k of the members.
#[derive(Clone, Debug)]
enum Node {
    Witness(VerifierKey),
    Group(usize, Vec<String>),
}

/// A trust policy: any of its logs, and a quorum of its witnesses.
#[derive(Clone, Debug)]
pub struct TrustPolicy {
    logs: Vec<VerifierKey>,
    nodes: HashMap<String, Node>,
    quorum: String,
}

/// A checkpoint that a policy accepts.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The checkpoint, its log signature verified.
    pub checkpoint: SignedCheckpoint,
    /// Witnesses of the policy that cosigned it, with their time in Unix seconds.
    pub witnesses: Vec<(String, u64)>,
}

impl TrustPolicy {
    /// One log, no witnesses: what a bare log key means.
    pub fn of_log(key: VerifierKey) -> Self {
        Self { logs: vec![key], nodes: HashMap::new(), quorum: NONE.into() }
    }

    /// Reads a policy: lines `log VKEY [URL]`, `witness NAME VKEY [URL]`,
    /// `group NAME all|any|K MEMBER…`, `quorum NAME`; `#` begins a comment line.
    pub fn parse(text: &str) -> Result<Self, LogError> {
        let mut policy = Self { logs: Vec::new(), nodes: HashMap::new(), quorum: String::new() };
        let mut members: Vec<String> = Vec::new();
        let lines = text.lines().enumerate().map(|(n, l)| (n + 1, l.trim_matches([' ', '\t'])));
        for (count, (n, line)) in lines.filter(|(_, l)| !l.is_empty() && !l.starts_with('#')).enumerate() {
            let bad = |reason: &str| LogError::malformed("trust policy", format!("line {n}: {reason}"));
            if count >= MAX_LINES {
                return Err(bad("more than 128 lines"));
            }
            let words: Vec<&str> = line.split([' ', '\t']).filter(|w| !w.is_empty()).collect();
            match words[..] {
                ["log", key] | ["log", key, _] => policy.add_log(VerifierKey::parse(key)?).map_err(|r| bad(&r))?,
                ["witness", name, key] | ["witness", name, key, _] => {
                    policy.define(name, Node::Witness(VerifierKey::parse(key)?)).map_err(|r| bad(&r))?;
                }
                ["group", name, threshold, ref list @ ..] => {
                    if list.iter().any(|m| !policy.nodes.contains_key(*m)) {
                        return Err(bad("a member is not defined above"));
                    }
                    if list.iter().any(|m| members.iter().any(|known| known == m)) {
                        return Err(bad("a member already belongs to a group"));
                    }
                    members.extend(list.iter().map(|m| (*m).to_owned()));
                    let k = match threshold {
                        "all" => list.len(),
                        "any" => 1,
                        number => number.parse().map_err(|_| bad("the threshold is none of all, any and a number"))?,
                    };
                    if list.is_empty() || k == 0 || k > list.len() {
                        return Err(bad("the threshold must lie between 1 and the number of members"));
                    }
                    policy.define(name, Node::Group(k, list.iter().map(|m| (*m).to_owned()).collect())).map_err(|r| bad(&r))?;
                }
                ["quorum", name] if policy.quorum.is_empty() && (name == NONE || policy.nodes.contains_key(name)) => {
                    policy.quorum = name.to_owned()
                }
                ["quorum", _] => return Err(bad("a second quorum, or of a name that is not defined above")),
                _ => return Err(bad("it is none of log, witness, group and quorum")),
            }
        }
        if policy.quorum.is_empty() || policy.logs.is_empty() {
            return Err(LogError::malformed("trust policy", "it needs one quorum line and one log at least"));
        }
        Ok(policy)
    }

    fn add_log(&mut self, key: VerifierKey) -> Result<(), String> {
        if key.kind() == NoteKeyType::Cosignature || self.logs.iter().any(|l| l.spki_der() == key.spki_der()) {
            return Err("a witness's key, or a log that is listed already".into());
        }
        self.logs.push(key);
        Ok(())
    }

    fn define(&mut self, name: &str, node: Node) -> Result<(), String> {
        if let Node::Witness(key) = &node {
            if key.kind() != NoteKeyType::Cosignature {
                return Err("the witness's key is not a cosignature key (type 4)".into());
            }
            if self.nodes.values().any(|n| matches!(n, Node::Witness(k) if k.spki_der() == key.spki_der())) {
                return Err("the witness is listed already".into());
            }
        }
        if name == NONE || self.nodes.contains_key(name) {
            return Err(format!("the name '{name}' is taken"));
        }
        self.nodes.insert(name.to_owned(), node);
        Ok(())
    }

    /// Accepts a checkpoint that a listed log signed and a quorum of witnesses cosigned.
    pub fn accept(&self, note: &Note) -> Result<Accepted, LogError> {
        let origin = note.text().split('\n').next().unwrap_or_default();
        let log = self.logs.iter().find(|key| note.signatures().iter().any(|s| s.is_by(key)) && key.name() == origin);
        let log =
            log.ok_or_else(|| LogError::Unsigned { name: origin.to_owned(), reason: "none of the policy's logs signed it".into() })?;
        let checkpoint = SignedCheckpoint::from_note(note.clone(), log)?;
        let mut witnesses = Vec::new();
        for (name, node) in &self.nodes {
            if let Node::Witness(key) = node
                && note.signatures().iter().any(|s| s.is_by(key))
            {
                // "If a signature from a known key fails to verify, clients SHOULD reject the whole note."
                witnesses.extend(note.verify(key)?.map(|time| (name.clone(), time)));
            }
        }
        witnesses.sort();
        if self.quorum != NONE && !self.witnessed(&self.quorum, &witnesses) {
            let reason = format!("{} known witnesses cosigned it, the quorum '{}' is not reached", witnesses.len(), self.quorum);
            return Err(LogError::Unsigned { name: origin.to_owned(), reason });
        }
        Ok(Accepted { checkpoint, witnesses })
    }

    /// Groups refer to names above them alone, so this ends.
    fn witnessed(&self, name: &str, witnesses: &[(String, u64)]) -> bool {
        match self.nodes.get(name) {
            Some(Node::Witness(_)) => witnesses.iter().any(|(w, _)| w == name),
            Some(Node::Group(k, members)) => members.iter().filter(|m| self.witnessed(m, witnesses)).count() >= *k,
            None => false,
        }
    }
}

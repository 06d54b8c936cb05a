//! Approvals: people sign a text with SSH keys that they already have (SSHSIG, as made by
//! `ssh-keygen -Y sign`), and a roster says whose signatures count.
//!
//! The roster is OpenSSH's allowed signers file (ssh-keygen(1)), so that the same roster and the
//! same signatures are verified by stock `ssh-keygen -Y verify`.

use crate::types::Invalid;
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey, SshSig};
use std::str::FromStr;

/// Largest roster and most people in it.
const MAX_ROSTER: usize = 64 * 1024;
const MAX_PEOPLE: usize = 100;
/// Largest signature file, bytes; an armoured SSHSIG has under 1 KiB.
const MAX_SIGNATURE: usize = 16 * 1024;

/// One person whose signature counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    name: String,
    key: KeyData,
    namespaces: Option<Vec<String>>,
    valid_after: Option<i64>,
    valid_before: Option<i64>,
}

impl Operator {
    /// Principal of the roster line, e.g. `alice@example.com`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `SHA256:…` as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }
}

/// The people whose signatures count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster(Vec<Operator>);

impl Roster {
    /// Reads an allowed signers file: `NAME [OPTIONS] KEYTYPE BASE64 [COMMENT]` a line, options
    /// `namespaces="a,b"`, `valid-after="…Z"`, `valid-before="…Z"`. Stricter than OpenSSH: one exact
    /// name a line, no name and no key twice, times in UTC, no certificate authorities.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > MAX_ROSTER {
            return Err(Invalid::new("roster", format!("larger than {MAX_ROSTER} bytes")));
        }
        let mut people: Vec<Operator> = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let person = operator(line).map_err(|reason| Invalid::new("roster", format!("line {}: {reason}", n + 1)))?;
            if people.iter().any(|p| p.name == person.name || p.key == person.key) {
                return Err(Invalid::new("roster", format!("line {}: '{}' or the key occurs twice", n + 1, person.name)));
            }
            people.push(person);
        }
        match people.len() {
            1..=MAX_PEOPLE => Ok(Self(people)),
            n => Err(Invalid::new("roster", format!("names {n} people; 1 to {MAX_PEOPLE} are accepted"))),
        }
    }

    /// Everybody, in the order of the file.
    pub fn people(&self) -> &[Operator] {
        &self.0
    }

    /// Who made `signature` (armoured SSHSIG) over `message` in `namespace`, when that person's
    /// signature counts at `now` (Unix seconds). `Err` says why not and what to do.
    pub fn verify(&self, namespace: &str, message: &[u8], signature: &[u8], now: i64) -> Result<&Operator, String> {
        if signature.len() > MAX_SIGNATURE {
            return Err(format!("larger than {MAX_SIGNATURE} bytes; not an SSH signature"));
        }
        let signature =
            SshSig::from_pem(signature).map_err(|e| format!("not an armoured SSH signature ({e}); make one with ssh-keygen -Y sign"))?;
        let key = signature.public_key();
        let fingerprint = key.fingerprint(HashAlg::Sha256);
        let person = self.0.iter().find(|p| p.key == *key).ok_or_else(|| format!("made by {fingerprint}, which is not in the roster"))?;
        let name = &person.name;
        if signature.namespace() != namespace {
            return Err(format!("{name} signed for the namespace '{}'; sign with -n {namespace}", signature.namespace()));
        }
        if person.namespaces.as_ref().is_some_and(|list| !list.iter().any(|n| n == namespace)) {
            return Err(format!("the roster does not let {name} sign for {namespace}"));
        }
        if person.valid_after.is_some_and(|t| now < t) || person.valid_before.is_some_and(|t| now >= t) {
            return Err(format!("{name}'s key has expired or is not valid yet (valid-after, valid-before in the roster)"));
        }
        PublicKey::from(key.clone())
            .verify(namespace, message, &signature)
            .map_err(|_| format!("{name} signed something else than this text; sign it again"))?;
        Ok(person)
    }
}

fn operator(line: &str) -> Result<Operator, String> {
    let (name, rest) = line.split_once(char::is_whitespace).ok_or("is not NAME [OPTIONS] KEYTYPE KEY")?;
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"@._+-".contains(&b)) {
        return Err(format!("'{name}' is not a single name of letters, digits and @ . _ + -"));
    }
    let rest = rest.trim_start();
    let is_key = |s: &str| s.starts_with("ssh-") || s.starts_with("ecdsa-") || s.starts_with("sk-");
    let (options, key) = if is_key(rest) { ("", rest) } else { split_options(rest)? };
    let key = PublicKey::from_openssh(key.trim()).map_err(|e| format!("the key of {name} is unreadable: {e}"))?;
    if !matches!(key.key_data(), KeyData::Ed25519(_) | KeyData::Ecdsa(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_)) {
        return Err(format!("the key of {name} is {}; use ed25519, ecdsa or a security key", key.algorithm()));
    }
    let mut person =
        Operator { name: name.to_owned(), key: key.key_data().clone(), namespaces: None, valid_after: None, valid_before: None };
    for option in options.split_inclusive('"').collect::<Vec<_>>().chunks(2) {
        set_option(&mut person, &option.concat())?;
    }
    Ok(person)
}

/// Options end at the first blank outside quotes.
fn split_options(text: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    let end = text.find(|c: char| {
        quoted ^= c == '"';
        c.is_whitespace() && !quoted
    });
    end.map(|end| text.split_at(end)).ok_or_else(|| "has no key".to_owned())
}

fn set_option(person: &mut Operator, option: &str) -> Result<(), String> {
    let option = option.trim_start_matches(',');
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    let value =
        value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).ok_or_else(|| format!("option '{option}' is not NAME=\"VALUE\""))?;
    match name {
        "namespaces" => person.namespaces = Some(value.split(',').map(str::to_owned).collect()),
        "valid-after" => person.valid_after = Some(utc(value)?),
        "valid-before" => person.valid_before = Some(utc(value)?),
        other => return Err(format!("option '{other}' is not namespaces, valid-after or valid-before")),
    }
    Ok(())
}

/// `YYYYMMDDZ` or `YYYYMMDDHHMM[SS]Z` to Unix seconds. Without the Z the host's zone would decide.
fn utc(text: &str) -> Result<i64, String> {
    let wanted = || format!("'{text}' is not a UTC time like 20270101Z or 202701011200Z");
    let digits = text.strip_suffix('Z').filter(|d| d.bytes().all(|b| b.is_ascii_digit())).ok_or_else(wanted)?;
    if !matches!(digits.len(), 8 | 12 | 14) {
        return Err(wanted());
    }
    let field = |from: usize, to: usize| digits.get(from..to).map_or(Ok(0), u8::from_str).map_err(|_| wanted());
    let year = digits.get(..4).and_then(|y| y.parse().ok()).ok_or_else(wanted)?;
    let at = der::DateTime::new(year, field(4, 6)?, field(6, 8)?, field(8, 10)?, field(10, 12)?, field(12, 14)?).map_err(|_| wanted())?;
    i64::try_from(at.unix_duration().as_secs()).map_err(|_| wanted())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti alice";

    #[test]
    fn a_roster_is_read_with_its_options() {
        let text = format!("# people\n\nalice@x namespaces=\"a,b\",valid-before=\"20270101Z\" {KEY}\n");
        let roster = Roster::parse(&text).unwrap();
        let alice = &roster.people()[0];
        assert_eq!((alice.name(), alice.valid_before), ("alice@x", Some(1_798_761_600)));
        assert_eq!(alice.namespaces.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
        assert_eq!(utc("202701010000Z").unwrap(), 1_798_761_600);
    }

    #[test]
    fn bad_rosters_name_line_and_reason() {
        let twice = format!("alice {KEY}\nbob {KEY}");
        let cases = [
            ("", "names 0 people"),
            ("alice", "line 1"),
            ("alice,bob ssh-ed25519 AAAA", "single name"),
            ("* ssh-ed25519 AAAA", "single name"),
            ("alice ssh-ed25519 AAAA", "unreadable"),
            (twice.as_str(), "line 2"),
        ];
        for (text, words) in cases {
            let message = Roster::parse(text).unwrap_err().to_string();
            assert!(message.contains(words), "{text}: {message}");
        }
        for (option, words) in [("cert-authority", "NAME"), ("valid-before=\"20270101\"", "UTC"), ("foo=\"1\"", "foo")] {
            let message = Roster::parse(&format!("alice {option} {KEY}")).unwrap_err().to_string();
            assert!(message.contains(words), "{option}: {message}");
        }
    }
}

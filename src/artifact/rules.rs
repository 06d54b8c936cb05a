//! Who must have signed: named identities, and how many of them (TOML, version 1).
//!
//! ```toml
//! version = 1
//! require = "all"              # "any", "all", or a number of names
//!
//! [[signer]]
//! name = "gateway of line 1"
//! subject = { CN = "gw-*", OU = "gateway" }   # a final * stands for any ending
//! issuer_key = "…"             # SHA-256 of the issuing intermediate's SubjectPublicKeyInfo
//!
//! [[signer]]
//! name = "release station"
//! key = "…"                    # SHA-256 of the signer's own SubjectPublicKeyInfo
//! ```

use super::Signed;
use crate::types::{Fingerprint, Invalid};
use crate::x509::chain::ReadCertificate;
use const_oid::ObjectIdentifier;
use const_oid::db::DB;
use der::asn1::{PrintableStringRef, Utf8StringRef};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Names in one file at most.
const MAX_SIGNERS: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRules {
    version: u32,
    require: RawRequire,
    signer: Vec<RawSigner>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawRequire {
    Word(String),
    Count(usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSigner {
    name: String,
    #[serde(default)]
    subject: BTreeMap<String, String>,
    key: Option<String>,
    issuer_key: Option<String>,
}

/// Rules about the signers of one artifact.
#[derive(Clone, Debug)]
pub struct SignerRules {
    signers: Vec<Identity>,
    needed: usize,
}

#[derive(Clone, Debug)]
struct Identity {
    name: String,
    subject: Vec<(ObjectIdentifier, Pattern)>,
    key: Option<Fingerprint>,
    issuer_key: Option<Fingerprint>,
}

#[derive(Clone, Debug)]
enum Pattern {
    Exact(String),
    Prefix(String),
}

/// Too few of the named signers signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} of the {needed} signers that must sign did; nobody signed as: {}; let them sign, or change the rules", missing.join(", "))]
pub struct TooFew {
    /// Names that are satisfied.
    pub found: usize,
    /// Names that must be.
    pub needed: usize,
    /// Names without a signature.
    pub missing: Vec<String>,
}

impl SignerRules {
    /// Reads the TOML text.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let raw: RawRules = toml::from_str(text).map_err(|e| Invalid::new("signer rules", e.to_string()))?;
        if raw.version != 1 {
            return Err(Invalid::new("version", format!("is {}; this release reads 1", raw.version)));
        }
        if raw.signer.is_empty() || raw.signer.len() > MAX_SIGNERS {
            return Err(Invalid::new("signer", format!("1 to {MAX_SIGNERS} [[signer]] tables are needed")));
        }
        let signers = raw.signer.into_iter().map(Identity::new).collect::<Result<Vec<_>, _>>()?;
        let needed = match raw.require {
            RawRequire::Word(word) if word == "all" => signers.len(),
            RawRequire::Word(word) if word == "any" => 1,
            RawRequire::Count(n) if (1..=signers.len()).contains(&n) => n,
            _ => return Err(Invalid::new("require", format!("must be \"any\", \"all\" or a number from 1 to {}", signers.len()))),
        };
        let mut names: Vec<&str> = signers.iter().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair.first() == pair.last()) {
            Some(pair) => Err(Invalid::new("name", format!("{pair:?} occurs twice"))),
            None => Ok(Self { signers, needed }),
        }
    }

    /// Names that signed, or who is missing. One key stands for one name only, however often it
    /// signed, and the assignment that satisfies most names counts.
    pub fn check(&self, signed: &[Signed]) -> Result<Vec<&str>, TooFew> {
        let mut keys: Vec<(&ReadCertificate, Option<&ReadCertificate>)> = Vec::new();
        for signature in signed {
            let chain = signature.chain();
            if !keys.iter().any(|(known, _)| known.spki_der() == chain.leaf().spki_der()) {
                keys.push((chain.leaf(), chain.issuers().first()));
            }
        }
        let fits: Vec<Vec<usize>> = self
            .signers
            .iter()
            .map(|identity| (0..keys.len()).filter(|k| keys.get(*k).is_some_and(|(l, i)| identity.fits(l, *i))).collect())
            .collect();
        let mut holder = vec![None; keys.len()];
        let found: Vec<bool> = (0..fits.len()).map(|name| assign(name, &fits, &mut holder, &mut vec![false; keys.len()])).collect();
        let (with, without): (Vec<_>, Vec<_>) = self.signers.iter().zip(found).partition(|(_, found)| *found);
        if with.len() >= self.needed {
            return Ok(with.into_iter().map(|(s, _)| s.name.as_str()).collect());
        }
        Err(TooFew { found: with.len(), needed: self.needed, missing: without.into_iter().map(|(s, _)| s.name.clone()).collect() })
    }
}

/// Gives `name` a key of its own, moving earlier names to other keys where that is possible
/// (augmenting path of a bipartite matching).
fn assign(name: usize, fits: &[Vec<usize>], holder: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for key in fits.get(name).into_iter().flatten().copied() {
        if tried.get_mut(key).is_none_or(|t| std::mem::replace(t, true)) {
            continue;
        }
        let free = match holder.get(key).copied().flatten() {
            None => true,
            Some(other) => assign(other, fits, holder, tried),
        };
        if let (true, Some(slot)) = (free, holder.get_mut(key)) {
            *slot = Some(name);
            return true;
        }
    }
    false
}

impl Identity {
    fn new(raw: RawSigner) -> Result<Self, Invalid> {
        if raw.name.is_empty() || raw.name.len() > 128 {
            return Err(Invalid::new("name", "must have 1 to 128 characters"));
        }
        if raw.subject.is_empty() && raw.key.is_none() && raw.issuer_key.is_none() {
            return Err(Invalid::new("signer", format!("'{}' names no subject, key or issuer_key, so anybody would fit", raw.name)));
        }
        let attribute = |(name, text): (String, String)| {
            let oid = DB.by_name(&name).copied().or_else(|| ObjectIdentifier::new(&name).ok());
            let oid = oid
                .ok_or_else(|| Invalid::new("subject", format!("'{name}' is no known attribute; use CN, O, OU, serialNumber or an OID")))?;
            let pattern = text.strip_suffix('*').map_or_else(|| Pattern::Exact(text.clone()), |start| Pattern::Prefix(start.to_owned()));
            Ok((oid, pattern))
        };
        let fingerprint = |text: Option<String>| text.map(|t| Fingerprint::parse(&t)).transpose();
        Ok(Self {
            subject: raw.subject.into_iter().map(attribute).collect::<Result<_, Invalid>>()?,
            key: fingerprint(raw.key)?,
            issuer_key: fingerprint(raw.issuer_key)?,
            name: raw.name,
        })
    }

    fn fits(&self, leaf: &ReadCertificate, issuer: Option<&ReadCertificate>) -> bool {
        let is = |wanted: &Option<Fingerprint>, spki: Option<&[u8]>| {
            wanted.is_none_or(|f| spki.is_some_and(|spki| Fingerprint::of_spki(spki) == f))
        };
        let has = |(oid, pattern): &(ObjectIdentifier, Pattern)| {
            leaf.subject().iter().filter(|a| a.oid == *oid).any(|a| {
                let utf8 = Utf8StringRef::try_from(&a.value).map(|s| s.as_str().to_owned());
                let text = utf8.or_else(|_| PrintableStringRef::try_from(&a.value).map(|s| s.as_str().to_owned()));
                text.is_ok_and(|text| match pattern {
                    Pattern::Exact(exact) => text == *exact,
                    Pattern::Prefix(start) => text.starts_with(start.as_str()),
                })
            })
        };
        is(&self.key, Some(leaf.spki_der())) && is(&self.issuer_key, issuer.map(ReadCertificate::spki_der)) && self.subject.iter().all(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_move_to_other_keys_so_that_most_are_satisfied() {
        // Name 0 fits both keys, name 1 only the first: both can be satisfied, in any order.
        for fits in [vec![vec![0, 1], vec![0]], vec![vec![0], vec![0, 1]]] {
            let mut holder = vec![None; 2];
            assert!((0..2).all(|name| assign(name, &fits, &mut holder, &mut [false; 2])), "{fits:?}");
        }
        let mut holder = vec![None; 1];
        let fits = [vec![0], vec![0]];
        assert!(assign(0, &fits, &mut holder, &mut [false]) && !assign(1, &fits, &mut holder, &mut [false]));
    }

    #[test]
    fn loose_or_mistyped_rules_are_refused() {
        let signer = "[[signer]]\nname = \"a\"\nsubject = { CN = \"gw-*\", serialNumber = \"1\" }\n";
        SignerRules::parse(&format!("version = 1\nrequire = 1\n{signer}")).unwrap();
        for bad in [
            format!("version = 2\nrequire = 1\n{signer}"),
            format!("version = 1\nrequire = 2\n{signer}"),
            format!("version = 1\nrequire = 0\n{signer}"),
            format!("version = 1\nrequire = \"most\"\n{signer}"),
            format!("version = 1\nrequire = \"all\"\n{signer}{signer}"),
            format!("version = 1\nrequire = \"all\"\nrequired = 1\n{signer}"),
            "version = 1\nrequire = \"all\"\n[[signer]]\nname = \"anybody\"\n".to_owned(),
            "version = 1\nrequire = \"all\"\n[[signer]]\nname = \"a\"\nkey = \"00\"\n".to_owned(),
            "version = 1\nrequire = \"all\"\n[[signer]]\nname = \"a\"\nsubject = { Nonsense = \"x\" }\n".to_owned(),
            "version = 1\nrequire = \"all\"\nsigner = []\n".to_owned(),
        ] {
            assert!(SignerRules::parse(&bad).is_err(), "{bad}");
        }
    }
}

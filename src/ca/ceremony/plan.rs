//! The plan: everything that will be done, as text. Operators approve its SHA-256.

use super::crl::CrlWork;
use super::error::CeremonyError;
use super::file::{Ceremony, Work};
use super::new_ca::{NewCa, SubjectKey};
use super::parts::{Existing, NewKey};
use crate::token;
use crate::x509::text;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The plan as text. The same file and software give the same bytes on any machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanText(String);

impl PlanText {
    /// The text, ending in a line feed; the bytes that the hash is of.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the text in hexadecimal: what `sha256sum` says of the saved plan.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(self.0.as_bytes()))
    }
}

impl Ceremony {
    /// The full plan.
    pub fn plan(&self) -> Result<PlanText, CeremonyError> {
        let mut out = format!("sealwright ceremony plan\n\ntitle:    {}\nkind:     {}\n", self.title, self.kind.name());
        let purpose = if self.test { "test: not to be trusted" } else { "production" };
        let _ = writeln!(out, "purpose:  {purpose}\nfile:     {}\n          sha256 {}", self.name, hex::encode(self.digest));
        let _ = writeln!(out, "software: sealwright {}\n", env!("CARGO_PKG_VERSION"));
        self.people(&mut out);
        let mut steps = match &self.work {
            Work::NewCa(work) => new_ca(work)?,
            Work::Crl(work) => vec![crl(work)?],
            Work::Drill(existing) => {
                vec![found(existing), "Let it sign a request with a random name, and verify that with the certificate's key.\n".to_owned()]
            }
            Work::Destroy(existing) => {
                vec![found(existing), "DESTROY this key pair. Whatever it has not signed by then it will never sign.\n".to_owned()]
            }
        };
        let mut files = String::from("Create these files, none of which may exist:\n");
        for output in self.outputs.iter().chain([&self.journal, &self.transcript]) {
            let _ = writeln!(files, "   {:<12} {}", output.role, output.shown);
        }
        steps.push(files);
        for (n, step) in steps.iter().enumerate() {
            let _ = writeln!(out, "{}. {step}", n + 1);
        }
        Ok(PlanText(out))
    }

    fn people(&self, out: &mut String) {
        let Some(quorum) = &self.quorum else { return };
        let (file, sha256) = (&quorum.roster_file, &quorum.roster_sha256);
        let _ = writeln!(out, "To be approved by {} of these people ({file}, sha256 {sha256}):", quorum.required);
        for person in quorum.roster.people() {
            let _ = writeln!(out, "   {:<24} {}", person.name(), person.fingerprint());
        }
        out.push('\n');
    }
}

fn new_ca(work: &NewCa) -> Result<Vec<String>, CeremonyError> {
    let mut steps = Vec::new();
    if let SubjectKey::New(key) = &work.key {
        steps.push(generation(key));
        if work.issuer.is_some() {
            steps.push("Sign a request (PKCS#10) with the new key, which proves possession of it.\n".to_owned());
        }
    }
    let mut step = match &work.issuer {
        None => "Sign this certificate with the new key itself:\n".to_owned(),
        Some(part) => format!(
            "Sign this certificate with the issuer's key:\n   token        {}\n   key          sha256 {}\n   certificate  {}\n",
            part.token.uri, part.fingerprint, part.file
        ),
    };
    match &work.key {
        SubjectKey::New(_) => step.push_str(
            "   Serial number, public key and the key identifiers made from it do not exist yet:\n   \
             serial 01:…:01 and a well-known key stand in.\n",
        ),
        SubjectKey::Exists { file, .. } => {
            let _ = writeln!(step, "   Subject and key are those of {file}; serial 01:…:01 stands in for a random one.");
        }
    }
    if let Some((file, until)) = &work.previous {
        let _ = writeln!(step, "   The CA of {file} stays valid beside this one until {}.", moment(*until));
    }
    let linted = work.standin().map_err(|reasons| CeremonyError::Certificate(reasons.join("; ")))?;
    indent(&mut step, &text::tbs(linted.der()).map_err(|e| CeremonyError::Certificate(e.to_string()))?);
    steps.push(step);
    Ok(steps)
}

fn generation(key: &NewKey) -> String {
    let mut text = format!("Generate a key in a token:\n   token        {}\n   algorithm    {}\n", key.token.uri, key.algorithm);
    let _ = writeln!(text, "   label        {}\n   attributes   set explicitly, read back, refused when different:", key.label);
    for (name, value) in token::required_attributes() {
        let _ = writeln!(text, "                {name} {value}");
    }
    text
}

fn crl(work: &CrlWork) -> Result<String, CeremonyError> {
    let part = &work.issuer;
    let mut step = format!(
        "Sign this list of revoked certificates:\n   token        {}\n   key          sha256 {}\n   certificate  {}\n",
        part.token.uri, part.fingerprint, part.file
    );
    if let Some(previous) = &work.previous {
        let _ = writeln!(step, "   previous     {previous}");
    }
    let _ = writeln!(step, "   number       {}\n   this update  {}", work.plan.number, moment(work.plan.this_update));
    let _ = writeln!(step, "   next update  {}\n   revoked      {}", moment(work.plan.next_update), work.plan.revoked.len());
    for entry in &work.plan.revoked {
        let _ = writeln!(step, "      {} since {}, {:?}", entry.serial, moment(entry.at), entry.reason);
    }
    let _ = writeln!(step, "   to be signed sha256 {}", hex::encode(Sha256::digest(work.linted.der())));
    Ok(step)
}

fn found(existing: &Existing) -> String {
    format!(
        "Find this key, and check every attribute of it:\n   token        {}\n   key          sha256 {}\n   certificate  {}\n",
        existing.token.uri, existing.fingerprint, existing.file
    )
}

fn indent(out: &mut String, text: &str) {
    out.push('\n');
    for line in text.lines() {
        let _ = writeln!(out, "   {}", line.trim_end());
    }
}

/// RFC 3339, UTC.
pub(super) fn moment(unix: i64) -> String {
    let at = u64::try_from(unix).ok().and_then(|s| der::DateTime::from_unix_duration(std::time::Duration::from_secs(s)).ok());
    at.map_or_else(|| unix.to_string(), |at| at.to_string())
}

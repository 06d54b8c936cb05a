//! The plan: everything that will be done, as text. Operators approve its SHA-256.

use super::error::CeremonyError;
use super::file::Ceremony;
use super::standin;
use crate::token;
use crate::types::Serial;
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
        let mut out = format!("sealwright ceremony plan\n\ntitle:    {}\nkind:     {}\n", self.title, self.kind);
        let purpose = if self.test { "test: not to be trusted" } else { "production" };
        let _ = writeln!(out, "purpose:  {purpose}\nfile:     {}\n          sha256 {}", self.name, hex::encode(self.digest));
        let _ = writeln!(out, "software: sealwright {}\n", env!("CARGO_PKG_VERSION"));
        if let Some(quorum) = &self.quorum {
            let _ = writeln!(
                out,
                "To be approved by {} of these people ({}, sha256 {}):",
                quorum.required, quorum.roster_file, quorum.roster_sha256
            );
            for person in quorum.roster.people() {
                let _ = writeln!(out, "   {:<24} {}", person.name(), person.fingerprint());
            }
            out.push('\n');
        }
        let mut step = 0;
        let mut say = |out: &mut String, text: String| {
            step += 1;
            let _ = writeln!(out, "{step}. {text}");
        };
        say(&mut out, self.key_step());
        if self.issuer.is_some() {
            say(&mut out, "Sign a request (PKCS#10) with the new key, which proves possession of it.\n".into());
        }
        say(&mut out, self.signing_step()?);
        let mut files = String::from("Create these files, none of which may exist:\n");
        for output in self.outputs.iter().chain([&self.journal, &self.transcript]) {
            let _ = writeln!(files, "   {:<12} {}", output.role, output.shown);
        }
        say(&mut out, files);
        Ok(PlanText(out))
    }

    fn key_step(&self) -> String {
        let key = &self.key;
        let mut text = format!("Generate a key in a token:\n   token        {}\n   algorithm    {}\n", key.token.uri, key.algorithm);
        let _ = writeln!(text, "   label        {}\n   attributes   set explicitly, read back, refused when different:", key.label);
        for (name, value) in token::required_attributes() {
            let _ = writeln!(text, "                {name} {value}");
        }
        text
    }

    fn signing_step(&self) -> Result<String, CeremonyError> {
        let mut step = match &self.issuer {
            None => String::from("Sign this certificate with the new key itself"),
            Some(part) => format!(
                "Sign this certificate with the issuer's key:\n   token        {}\n   key          sha256 {}\n   certificate  {}\n",
                part.token.uri, part.fingerprint, part.file
            ),
        };
        step.push_str(if self.issuer.is_some() { "   Serial number" } else { ". Its serial number" });
        step.push_str(", public key and key identifiers do not exist yet; serial 01:…:01 and a well-known key stand in:\n\n");
        let certificate = |e: String| CeremonyError::Certificate(e);
        let spki = standin::spki(self.key.algorithm).map_err(|e| certificate(e.to_string()))?;
        let serial = Serial::parse(&"01".repeat(20)).map_err(|e| certificate(e.to_string()))?;
        let linted = self.build(&spki, &serial).map_err(|reasons| certificate(reasons.join("; ")))?;
        let shown = text::tbs(linted.der()).map_err(|e| certificate(e.to_string()))?;
        for line in shown.lines() {
            let _ = writeln!(step, "   {}", line.trim_end());
        }
        Ok(step)
    }
}

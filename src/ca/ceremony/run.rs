//! Carrying a ceremony out: one step after the other, each skipped when the journal has it.

use super::error::CeremonyError;
use super::file::{Ceremony, Work};
use super::journal::{Journal, Line};
use super::new_ca::SubjectKey;
use super::outputs::Output;
use super::transcript;
use crate::token::{Module, Pin, Token, TokenError};
use crate::types::{Fingerprint, unix_now};
use crate::x509::pem;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The PIN of each token by role (`key`, `issuer`, `existing`).
pub type Pins = BTreeMap<&'static str, Pin>;

/// What a finished ceremony made.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Fingerprint of the key that the ceremony is about: the new, certified or signing one.
    pub fingerprint: Fingerprint,
    /// SHA-256 of the plan, hexadecimal.
    pub plan: String,
    /// Whether an interrupted run was completed.
    pub resumed: bool,
    /// Every file made, as `(role, path as written in the ceremony file)`.
    pub files: Vec<(&'static str, String)>,
}

/// One run of a ceremony: its tokens, its journal, and who is told of each step.
pub(super) struct Run<'a> {
    pub ceremony: &'a Ceremony,
    pub tokens: BTreeMap<&'static str, Token>,
    pub journal: Journal,
    pub report: &'a mut dyn FnMut(&str),
}

impl Ceremony {
    /// Carries the ceremony out, or goes on with it after an interruption. `report` is told each
    /// step in a few words. Checks everything that can be checked before the first write.
    pub fn run(&self, pins: &Pins, report: &mut dyn FnMut(&str)) -> Result<Outcome, CeremonyError> {
        let text = self.plan()?;
        let plan = text.sha256();
        let journal = Journal::open(&self.journal.path, &plan)?;
        if journal.is_none() {
            self.outputs_absent()?;
        }
        let approvals = self.approvals(&text, unix_now())?;
        let tokens = self.open_tokens(pins)?;
        let journal = match journal {
            Some(journal) => journal,
            None => {
                self.look_at_tokens(&tokens)?;
                Journal::create(&self.journal.path, &plan, program_digest(), unix_now())?
            }
        };
        let mut run = Run { ceremony: self, tokens, journal, report };
        if run.journal.record.approved.is_none() {
            run.journal.write(Line::Approved { by: approvals })?;
        }
        let resumed = run.journal.resumed;
        (run.report)(if resumed { "going on with an interrupted ceremony" } else { "everything is checked; the ceremony begins" });
        let fingerprint = match &self.work {
            Work::NewCa(work) => run.new_ca(work)?,
            Work::Crl(work) => run.sign_crl(work)?,
            Work::Drill(existing) => run.drill(existing)?,
            Work::Destroy(existing) => run.destroy(existing)?,
        };
        run.finish()?;
        let files = self.outputs.iter().chain([&self.journal, &self.transcript]).map(|o| (o.role, o.shown.clone())).collect();
        Ok(Outcome { fingerprint, plan, resumed, files })
    }

    fn outputs_absent(&self) -> Result<(), CeremonyError> {
        self.outputs.iter().chain([&self.journal, &self.transcript]).try_for_each(Output::must_be_absent)
    }

    fn open_tokens(&self, pins: &Pins) -> Result<BTreeMap<&'static str, Token>, CeremonyError> {
        let mut tokens = BTreeMap::new();
        for wanted in self.tokens() {
            let missing = || TokenError::PinSource("no PIN was given for this token".into());
            let open = || Token::open(&Module::load(&wanted.module)?, &wanted.uri, pins.get(wanted.role).ok_or_else(missing)?);
            let token = open().map_err(at(wanted.role))?;
            if token.info().soft && !self.test {
                return Err(CeremonyError::SoftToken(token.info().serial.clone()));
            }
            tokens.insert(wanted.role, token);
        }
        Ok(tokens)
    }

    /// What only the tokens can tell is asked before the journal begins and anything is written.
    fn look_at_tokens(&self, tokens: &BTreeMap<&'static str, Token>) -> Result<(), CeremonyError> {
        let find = |role, fingerprint| match tokens.get(role) {
            Some(token) => token.find_key(fingerprint).map(|_| ()).map_err(at(role)),
            None => Ok(()),
        };
        match &self.work {
            Work::NewCa(work) => {
                if let (SubjectKey::New(key), Some(token)) = (&work.key, tokens.get("key")) {
                    token.can_generate(key.algorithm, &key.label).map_err(at("key"))?;
                }
                work.issuer.as_ref().map_or(Ok(()), |part| find("issuer", &part.fingerprint))
            }
            Work::Crl(work) => find("issuer", &work.issuer.fingerprint),
            Work::Drill(existing) | Work::Destroy(existing) => find("existing", &existing.fingerprint),
        }
    }
}

impl Run<'_> {
    pub(super) fn token(&self, role: &'static str) -> Result<&Token, CeremonyError> {
        let missing = || TokenError::NoSuchToken("it was not opened".into());
        self.tokens.get(role).ok_or_else(missing).map_err(at(role))
    }

    pub(super) fn say(&mut self, step: &str) {
        (self.report)(step);
    }

    /// Writes outputs, the last journal lines, and the transcript that follows from the journal.
    fn finish(&mut self) -> Result<(), CeremonyError> {
        let record = &self.journal.record;
        let block = |label, der: &Option<Vec<u8>>| der.as_deref().map(|der| pem::encode(label, der)).unwrap_or_default();
        let certificate = block(pem::CERTIFICATE, &record.certificate);
        for output in &self.ceremony.outputs {
            let content = match output.role {
                "request" => block(pem::REQUEST, &record.request),
                "crl" => block(pem::CRL, &record.crl),
                "chain" => format!("{certificate}{}", self.issuer_pem()),
                _ => certificate.clone(),
            };
            output.write(content.as_bytes(), self.journal.resumed)?;
        }
        if !self.journal.record.outputs_written {
            self.journal.write(Line::OutputsWritten)?;
        }
        if self.journal.record.finished.is_none() {
            self.journal.write(Line::End { finished: unix_now() })?;
        }
        let html = transcript::html(self.ceremony, &self.journal.record)?;
        self.ceremony.transcript.write(html.as_bytes(), true)?;
        self.say("files and transcript written");
        Ok(())
    }

    fn issuer_pem(&self) -> String {
        match &self.ceremony.work {
            Work::NewCa(work) => work.issuer.as_ref().map(|part| pem::encode(pem::CERTIFICATE, &part.certificate)).unwrap_or_default(),
            _ => String::new(),
        }
    }
}

pub(super) fn at(role: &'static str) -> impl Fn(TokenError) -> CeremonyError {
    move |source| CeremonyError::Token { role, source }
}

pub(super) fn certificate(error: impl std::fmt::Display) -> CeremonyError {
    CeremonyError::Certificate(error.to_string())
}

/// SHA-256 of the running program, for the transcript; says so when it cannot be read.
fn program_digest() -> String {
    let read = std::env::current_exe().and_then(std::fs::File::open).and_then(|mut file| {
        let mut hash = Sha256::new();
        std::io::copy(&mut file, &mut HashWriter(&mut hash))?;
        Ok(hex::encode(hash.finalize()))
    });
    read.unwrap_or_else(|_| "unreadable".into())
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

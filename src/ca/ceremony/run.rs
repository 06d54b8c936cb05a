//! Carrying a ceremony out: one step after the other, each skipped when the journal has it.

use super::error::CeremonyError;
use super::file::{Ceremony, TokenRole};
use super::journal::{Journal, KeyLine, Line};
use super::outputs::Output;
use super::transcript;
use crate::token::{Key, Module, Pin, Token, TokenError, new_key_id};
use crate::types::{Fingerprint, Serial, unix_now};
use crate::x509::csr::{RequestInfo, VerifiedCsr};
use crate::x509::pem;
use crate::x509::sign::ToSign;
use crate::x509::tbs::Linted;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The PIN of each token by role (`key`, `issuer`).
pub type Pins = BTreeMap<&'static str, Pin>;

/// What a finished ceremony made.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Fingerprint of the new key.
    pub fingerprint: Fingerprint,
    /// SHA-256 of the plan, hexadecimal.
    pub plan: String,
    /// Whether an interrupted run was completed.
    pub resumed: bool,
    /// Every file made, as `(role, path as written in the ceremony file)`.
    pub files: Vec<(&'static str, String)>,
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
        let tokens = Tokens::open(self, pins)?;
        let mut journal = match journal {
            Some(journal) => journal,
            None => {
                tokens.key.can_generate(self.key.algorithm, &self.key.label).map_err(at("key"))?;
                Journal::create(&self.journal.path, &plan, program_digest(), unix_now())?
            }
        };
        if journal.record.approved.is_none() {
            journal.write(Line::Approved { by: approvals })?;
        }
        report(if journal.resumed { "going on with an interrupted ceremony" } else { "everything is checked; the ceremony begins" });
        let key = self.make_key(&tokens.key, &mut journal, report)?;
        let issuer_key = self.find_issuer_key(&tokens, &mut journal, report)?;
        let request = self.sign_request(&tokens.key, &key, &mut journal, report)?;
        let (signer, signing_key) = match (&tokens.issuer, &issuer_key) {
            (Some(token), Some(issuer_key)) => (token, issuer_key),
            _ => (&tokens.key, &key),
        };
        let certificate = self.sign_certificate(signer, signing_key, &key, &mut journal, report)?;
        self.write_outputs(&certificate, request.as_deref(), &mut journal)?;
        if journal.record.finished.is_none() {
            journal.write(Line::End { finished: unix_now() })?;
        }
        let html = transcript::html(self, &journal.record)?;
        self.transcript.write(html.as_bytes(), true)?;
        report("files and transcript written");
        let files = self.outputs.iter().chain([&self.journal, &self.transcript]).map(|o| (o.role, o.shown.clone())).collect();
        Ok(Outcome { fingerprint: key.fingerprint(), plan, resumed: journal.resumed, files })
    }

    fn outputs_absent(&self) -> Result<(), CeremonyError> {
        self.outputs.iter().chain([&self.journal, &self.transcript]).try_for_each(Output::must_be_absent)
    }

    /// Generates the key under the CKA_ID that the journal announced. After an interruption the
    /// key with exactly this label and CKA_ID is ours; any other one is reported and left alone.
    fn make_key(&self, token: &Token, journal: &mut Journal, report: &mut dyn FnMut(&str)) -> Result<Key, CeremonyError> {
        if let Some(made) = &journal.record.key {
            let spki = hex::decode(&made.spki).unwrap_or_default();
            return token.find_key(&Fingerprint::of_spki(&spki)).map_err(at("key"));
        }
        let id = match &journal.record.key_id {
            Some(id) => id.clone(),
            None => {
                let id = new_key_id().map_err(at("key"))?.to_vec();
                journal.write(Line::KeyIntended { id: hex::encode(&id) })?;
                id
            }
        };
        let recovered = if journal.resumed { token.recover_key(&self.key.label, &id).map_err(at("key"))? } else { None };
        let key = match recovered {
            Some(key) => key,
            None => token.generate_key_with_id(self.key.algorithm, &self.key.label, &id).map_err(at("key"))?,
        };
        journal.write(Line::KeyMade { key: KeyLine::new(&key, token.info()) })?;
        report(&format!("{} key '{}' made in token {}: sha256 {}", key.algorithm(), key.label(), token.info().serial, key.fingerprint()));
        Ok(key)
    }

    fn find_issuer_key(&self, tokens: &Tokens, journal: &mut Journal, report: &mut dyn FnMut(&str)) -> Result<Option<Key>, CeremonyError> {
        let (Some(part), Some(token), Some(key)) = (&self.issuer, &tokens.issuer, &tokens.issuer_key) else { return Ok(None) };
        if journal.record.issuer.is_none() {
            journal.write(Line::IssuerFound { key: KeyLine::new(key, token.info()) })?;
            report(&format!("issuer key found in token {}: sha256 {}", token.info().serial, part.fingerprint));
        }
        Ok(Some(key.clone()))
    }

    fn sign_request(
        &self,
        token: &Token,
        key: &Key,
        journal: &mut Journal,
        report: &mut dyn FnMut(&str),
    ) -> Result<Option<Vec<u8>>, CeremonyError> {
        if self.issuer.is_none() {
            return Ok(None);
        }
        if journal.record.request.is_none() {
            let info = RequestInfo::new(&self.profile.subject, key.spki_der()).map_err(certificate)?;
            let signature = token.sign(key, ToSign::Request(&info)).map_err(at("key"))?;
            let csr = info.assemble(key.algorithm().signature_algorithm(), &signature).map_err(certificate)?;
            journal.write(Line::RequestSigned { der: hex::encode(csr.der()) })?;
            report("request signed by the new key");
        }
        let der = journal.record.request.clone().unwrap_or_default();
        // Verified again on the way in (P1): a journal is a file, and files can be edited.
        let csr = VerifiedCsr::from_bytes(&der).map_err(certificate)?;
        if csr.spki_der() != key.spki_der() {
            return Err(CeremonyError::Certificate("the journal's request is not of the new key".into()));
        }
        Ok(Some(der))
    }

    /// The serial and the TBS are durable before the signature. After an interruption between the
    /// two the very same bytes are signed again, so a serial still names one certificate content.
    fn sign_certificate(
        &self,
        token: &Token,
        signer: &Key,
        key: &Key,
        journal: &mut Journal,
        report: &mut dyn FnMut(&str),
    ) -> Result<Vec<u8>, CeremonyError> {
        let build = |serial: &Serial| self.build(key.spki_der(), serial).map_err(|reasons| CeremonyError::Certificate(reasons.join("; ")));
        let linted: Linted = match &journal.record.intended {
            Some((serial, tbs)) => {
                let linted = build(&Serial::parse(serial).map_err(certificate)?)?;
                if linted.der() != tbs.as_slice() {
                    return Err(CeremonyError::Certificate("the journal's certificate is not the planned one".into()));
                }
                linted
            }
            None => {
                let serial = Serial::generate().map_err(certificate)?;
                let linted = build(&serial)?;
                journal.write(Line::CertificateIntended { serial: serial.to_string(), tbs: hex::encode(linted.der()) })?;
                linted
            }
        };
        if let Some(der) = &journal.record.certificate {
            return Ok(der.clone());
        }
        let role = if self.issuer.is_some() { "issuer" } else { "key" };
        let signature = token.sign(signer, ToSign::Certificate(&linted)).map_err(at(role))?;
        let issuer = self.issuer_for(key.spki_der()).map_err(CeremonyError::Certificate)?;
        let der = linted.attach(&issuer, &signature).map_err(certificate)?;
        journal.write(Line::CertificateSigned { der: hex::encode(&der) })?;
        report("certificate signed and its signature verified");
        Ok(der)
    }

    fn write_outputs(&self, certificate: &[u8], request: Option<&[u8]>, journal: &mut Journal) -> Result<(), CeremonyError> {
        let own = pem::encode(pem::CERTIFICATE, certificate);
        let issuer = self.issuer.as_ref().map(|part| pem::encode(pem::CERTIFICATE, &part.certificate)).unwrap_or_default();
        for output in &self.outputs {
            let content = match output.role {
                "certificate" => own.clone(),
                "request" => pem::encode(pem::REQUEST, request.unwrap_or_default()),
                _ => format!("{own}{issuer}"),
            };
            output.write(content.as_bytes(), journal.resumed)?;
        }
        if !journal.record.outputs_written {
            journal.write(Line::OutputsWritten)?;
        }
        Ok(())
    }
}

/// The opened tokens and the issuer's key: everything is there before anything is written.
struct Tokens {
    key: Token,
    issuer: Option<Token>,
    issuer_key: Option<Key>,
}

impl Tokens {
    fn open(ceremony: &Ceremony, pins: &Pins) -> Result<Self, CeremonyError> {
        let key = open(ceremony, &ceremony.key.token, pins)?;
        let Some(part) = &ceremony.issuer else { return Ok(Self { key, issuer: None, issuer_key: None }) };
        let issuer = open(ceremony, &part.token, pins)?;
        let issuer_key = issuer.find_key(&part.fingerprint).map_err(at("issuer"))?;
        Ok(Self { key, issuer: Some(issuer), issuer_key: Some(issuer_key) })
    }
}

fn open(ceremony: &Ceremony, token: &TokenRole, pins: &Pins) -> Result<Token, CeremonyError> {
    let missing = || TokenError::PinSource("no PIN was given for this token".into());
    let open = || Token::open(&Module::load(&token.module)?, &token.uri, pins.get(token.role).ok_or_else(missing)?);
    let opened = open().map_err(at(token.role))?;
    if opened.info().soft && !ceremony.test {
        return Err(CeremonyError::SoftToken(opened.info().serial.clone()));
    }
    Ok(opened)
}

fn at(role: &'static str) -> impl Fn(TokenError) -> CeremonyError {
    move |source| CeremonyError::Token { role, source }
}

fn certificate(error: impl std::fmt::Display) -> CeremonyError {
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

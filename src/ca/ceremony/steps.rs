//! The steps of each kind of ceremony.

use super::crl::CrlWork;
use super::error::CeremonyError;
use super::journal::{KeyLine, Line};
use super::new_ca::{NewCa, SubjectKey};
use super::parts::{Existing, NewKey};
use super::run::{Run, at, certificate};
use crate::token::{Key, TokenError, new_key_id};
use crate::types::{Fingerprint, Serial};
use crate::x509::csr::{RequestInfo, VerifiedCsr};
use crate::x509::keys;
use crate::x509::sign::ToSign;
use std::str::FromStr;
use x509_cert::name::Name;

impl Run<'_> {
    /// Root, intermediate, rotate, cross: key, request, certificate.
    pub(super) fn new_ca(&mut self, work: &NewCa) -> Result<Fingerprint, CeremonyError> {
        let (made, spki_der) = match &work.key {
            SubjectKey::New(new) => {
                let key = self.make_key(new)?;
                let spki_der = key.spki_der().to_vec();
                (Some(key), spki_der)
            }
            SubjectKey::Exists { spki_der, .. } => (None, spki_der.clone()),
        };
        let issuer_key = match &work.issuer {
            Some(part) => Some(self.find_issuer_key(&part.fingerprint)?),
            None => None,
        };
        if let (Some(key), Some(_)) = (&made, &issuer_key) {
            self.sign_request(work, key)?;
        }
        let (role, signer) = match (issuer_key, made) {
            (Some(key), _) => ("issuer", key),
            (None, Some(key)) => ("key", key),
            (None, None) => return Err(CeremonyError::Certificate("neither an issuer nor a new key".into())),
        };
        self.sign_certificate(work, role, &signer, &spki_der)?;
        Ok(Fingerprint::of_spki(&spki_der))
    }

    /// Generates the key under the CKA_ID that the journal announced. After an interruption the
    /// key with exactly this label and CKA_ID is ours; any other one is reported and left alone.
    fn make_key(&mut self, new: &NewKey) -> Result<Key, CeremonyError> {
        if let Some(made) = &self.journal.record.key {
            let spki = hex::decode(&made.spki).map_err(certificate)?;
            return self.token("key")?.find_key(&Fingerprint::of_spki(&spki)).map_err(at("key"));
        }
        let id = match &self.journal.record.key_id {
            Some(id) => id.clone(),
            None => {
                let id = new_key_id().map_err(at("key"))?.to_vec();
                self.journal.write(Line::KeyIntended { id: hex::encode(&id) })?;
                id
            }
        };
        let token = self.token("key")?;
        let recovered = if self.journal.resumed { token.recover_key(&new.label, &id).map_err(at("key"))? } else { None };
        let key = match recovered {
            Some(key) => key,
            None => token.generate_key_with_id(new.algorithm, &new.label, &id).map_err(at("key"))?,
        };
        let serial = token.info().serial.clone();
        let line = Line::KeyMade { key: KeyLine::new(&key, token.info()) };
        self.journal.write(line)?;
        self.say(&format!("{} key '{}' made in token {serial}: sha256 {}", key.algorithm(), key.label(), key.fingerprint()));
        Ok(key)
    }

    fn find_issuer_key(&mut self, fingerprint: &Fingerprint) -> Result<Key, CeremonyError> {
        let token = self.token("issuer")?;
        let key = token.find_key(fingerprint).map_err(at("issuer"))?;
        if self.journal.record.issuer.is_none() {
            let line = Line::IssuerFound { key: KeyLine::new(&key, token.info()) };
            let told = format!("issuer key found in token {}: sha256 {fingerprint}", token.info().serial);
            self.journal.write(line)?;
            self.say(&told);
        }
        Ok(key)
    }

    fn sign_request(&mut self, work: &NewCa, key: &Key) -> Result<(), CeremonyError> {
        if self.journal.record.request.is_none() {
            let info = RequestInfo::new(&work.profile.subject, key.spki_der()).map_err(certificate)?;
            self.sign_own_request("key", key, &info)?;
            self.say("request signed by the new key");
        }
        // Verified again on the way in (P1): a journal is a file, and files can be edited.
        let der = self.journal.record.request.as_deref().unwrap_or_default();
        let csr = VerifiedCsr::from_bytes(der).map_err(certificate)?;
        if csr.spki_der() != key.spki_der() {
            return Err(CeremonyError::Certificate("the journal's request is not of the new key".into()));
        }
        Ok(())
    }

    fn sign_own_request(&mut self, role: &'static str, key: &Key, info: &RequestInfo) -> Result<VerifiedCsr, CeremonyError> {
        let signature = self.token(role)?.sign(key, ToSign::Request(info)).map_err(at(role))?;
        let csr = info.assemble(key.algorithm().signature_algorithm(), &signature).map_err(certificate)?;
        self.journal.write(Line::RequestSigned { der: hex::encode(csr.der()) })?;
        Ok(csr)
    }

    /// The serial and the TBS are durable before the signature. After an interruption between the
    /// two the very same bytes are signed again, so a serial still names one certificate content.
    fn sign_certificate(&mut self, work: &NewCa, role: &'static str, signer: &Key, spki_der: &[u8]) -> Result<(), CeremonyError> {
        let build = |serial: &Serial| work.build(spki_der, serial).map_err(|reasons| CeremonyError::Certificate(reasons.join("; ")));
        let linted = match &self.journal.record.intended {
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
                self.journal.write(Line::CertificateIntended { serial: serial.to_string(), tbs: hex::encode(linted.der()) })?;
                linted
            }
        };
        if self.journal.record.certificate.is_some() {
            return Ok(());
        }
        let signature = self.token(role)?.sign(signer, ToSign::Certificate(&linted)).map_err(at(role))?;
        let issuer = work.issuer_for(spki_der).map_err(CeremonyError::Certificate)?;
        let der = linted.attach(&issuer, &signature).map_err(certificate)?;
        self.journal.write(Line::CertificateSigned { der: hex::encode(&der) })?;
        self.say("certificate signed and its signature verified");
        Ok(())
    }

    /// The list is fixed by the plan, so the journal's first line is the durable intent (I1).
    pub(super) fn sign_crl(&mut self, work: &CrlWork) -> Result<Fingerprint, CeremonyError> {
        let key = self.find_issuer_key(&work.issuer.fingerprint)?;
        if self.journal.record.crl.is_none() {
            let signature = self.token("issuer")?.sign(&key, ToSign::Crl(&work.linted)).map_err(at("issuer"))?;
            let mut der = Vec::new();
            work.linted.write_signed(&work.issuer.issuer, &signature, &mut der).map_err(certificate)?;
            self.journal.write(Line::CrlSigned { der: hex::encode(&der) })?;
            self.say("list signed and its signature verified");
        }
        Ok(key.fingerprint())
    }

    /// A restored token proves itself: the key is there by fingerprint, its attributes are right,
    /// and what it signs now verifies with the certificate's key.
    pub(super) fn drill(&mut self, existing: &Existing) -> Result<Fingerprint, CeremonyError> {
        let key = self.find_existing_key(existing)?;
        if self.journal.record.request.is_none() {
            // A request is harmless: nobody certifies this name. The nonce keeps an old one from serving.
            let nonce = hex::encode(new_key_id().map_err(at("existing"))?);
            let subject = Name::from_str(&format!("CN=restore drill {nonce}")).map_err(certificate)?;
            let info = RequestInfo::new(&subject, &existing.spki_der).map_err(certificate)?;
            let csr = self.sign_own_request("existing", &key, &info)?;
            keys::classify(csr.spki_der()).map_err(certificate)?;
            self.say("the token signed a fresh challenge; it verifies with the certificate's key");
        }
        Ok(key.fingerprint())
    }

    fn find_existing_key(&mut self, existing: &Existing) -> Result<Key, CeremonyError> {
        let token = self.token("existing")?;
        let key = token.find_key(&existing.fingerprint).map_err(at("existing"))?;
        if self.journal.record.existing.is_none() {
            let line = Line::ExistingFound { key: KeyLine::new(&key, token.info()) };
            let told = format!("key '{}' found in token {}: sha256 {}", key.label(), token.info().serial, existing.fingerprint);
            self.journal.write(line)?;
            self.say(&told);
        }
        Ok(key)
    }

    /// Destroys the named key pair and proves that the token no longer shows it.
    pub(super) fn destroy(&mut self, existing: &Existing) -> Result<Fingerprint, CeremonyError> {
        if !self.journal.record.destroyed {
            let found = self.token("existing")?.find_key(&existing.fingerprint);
            let gone = matches!(found, Err(TokenError::NoSuchKey(_))) && self.journal.record.existing.is_some();
            if !gone {
                let key = self.find_existing_key(existing)?;
                self.token("existing")?.destroy_key(&key).map_err(at("existing"))?;
            }
            self.journal.write(Line::KeyDestroyed)?;
            self.say("the key pair is destroyed and no longer found");
        }
        Ok(existing.fingerprint)
    }
}

//! Ceremonies that end in a CA certificate: root, intermediate, rotate, cross.

use super::certificate::{CaProfile, INTERMEDIATE, Limits, ROOT};
use super::fault::Checks;
use super::file::Kind;
use super::parts::{IssuerPart, Must, NewKey, TokenRole, ca_certificate, issuer_part, new_key, refuse};
use super::spec::{RawCeremony, RawFile};
use super::standin;
use crate::types::{KeyAlgorithm, Serial, Validity};
use crate::x509::lint::lint;
use crate::x509::tbs::{Issuer, Linted, Tbs};
use std::path::Path;
use toml::Spanned;

/// RSA of 2048 bits has 112 bits of strength, which SP 800-57 part 1 §5.6.3 ends with 2030.
const RSA_2048_ENDS: i64 = 1_924_991_999;

/// The key that is certified: made in this ceremony, or one that exists (cross).
#[derive(Clone, Debug)]
pub(super) enum SubjectKey {
    New(Box<NewKey>),
    Exists { spki_der: Vec<u8>, file: String },
}

/// A CA certificate to make.
#[derive(Clone, Debug)]
pub(super) struct NewCa {
    pub key: SubjectKey,
    pub issuer: Option<IssuerPart>,
    pub profile: CaProfile,
    /// For a rotation: the file of the CA that is replaced, and until when both are valid.
    pub previous: Option<(String, i64)>,
}

impl NewCa {
    /// `None` with a fault for each thing wrong; the tables of the kind are known to be there.
    pub(super) fn check(raw: &RawCeremony, kind: Kind, test: bool, base: &Path, checks: &mut Checks<'_>) -> Option<Self> {
        let limits: &Limits = if matches!(kind, Kind::Root | Kind::Cross) { &ROOT } else { &INTERMEDIATE };
        let table = raw.certificate.as_ref()?;
        let issuer = match &raw.issuer {
            Some(part) => issuer_part(part.get_ref(), Must::IssueCa, base, checks).map(Some),
            None => Some(None),
        };
        let (key, profile) = match (&raw.key, &raw.subject) {
            (Some(key), _) => {
                let profile = CaProfile::check(table, limits, None, test, checks);
                (new_key(key.get_ref(), base, checks).map(Box::new).map(SubjectKey::New), profile)
            }
            (None, subject) => {
                let (spki_der, other) = subject_of(subject.as_ref()?, base, checks)?;
                let file = subject.as_ref()?.get_ref().certificate.get_ref().clone();
                // A cross certificate may be short: it lives until devices trust the new root.
                let limits = Limits { min_days: 1, told: "a cross certificate is valid for up to 50 years", ..*limits };
                (Some(SubjectKey::Exists { spki_der, file }), CaProfile::check(table, &limits, Some(other.name()), test, checks))
            }
        };
        let (key, profile, issuer) = (key?, profile?, issuer?);
        let mut work = Self { key, issuer, profile, previous: None };
        if let Some(previous) = &raw.previous {
            work.previous = Some(work.check_previous(previous, base, checks)?);
        }
        work.check_strength(raw, checks);
        work.check_issuer(raw, checks);
        work.lint(raw, checks);
        Some(work)
    }

    fn check_strength(&self, raw: &RawCeremony, checks: &mut Checks<'_>) {
        let (SubjectKey::New(key), Some(raw)) = (&self.key, &raw.key) else { return };
        let weak = key.algorithm == KeyAlgorithm::Rsa(2048) && self.profile.validity.not_after() > RSA_2048_ENDS;
        let told = "rsa2048 is too weak for a CA valid beyond 2030 (SP 800-57); use rsa3072, rsa4096, p256 or p384";
        checks.refuse_if(weak, raw.get_ref().algorithm.span(), told);
    }

    fn check_issuer(&self, raw: &RawCeremony, checks: &mut Checks<'_>) {
        let (Some(part), Some(table), Some(certificate)) = (&self.issuer, &raw.issuer, &raw.certificate) else { return };
        if let SubjectKey::New(key) = &self.key {
            let same_token = part.token.uri.serial() == key.token.uri.serial();
            checks.refuse_if(same_token, table.get_ref().token.span(), "the root's key and the intermediate's belong in different tokens");
        }
        if let SubjectKey::Exists { spki_der, .. } = &self.key {
            checks.refuse_if(spki_der == part.issuer.spki_der(), table.span(), "issuer and subject are the same CA; nothing to cross-sign");
        }
        let same_name = *part.issuer.name() == self.profile.subject;
        let place = certificate.get_ref().subject.as_ref().map_or(certificate.span(), Spanned::span);
        checks.refuse_if(same_name, place, "the new CA has its issuer's name; path building would loop (RFC 5280 §6.1)");
    }

    /// A rotation makes a second CA beside the first: same issuer, another name, overlapping time.
    fn check_previous(&self, raw: &Spanned<RawFile>, base: &Path, checks: &mut Checks<'_>) -> Option<(String, i64)> {
        let file = raw.get_ref().certificate.get_ref();
        let (_, old) = subject_of(raw, base, checks)?;
        let overlap = old.validity().not_after().min(self.profile.validity.not_after());
        let gap = self.profile.validity.not_before() > old.validity().not_after();
        checks.refuse_if(gap, raw.span(), format!("{file} expires before the new CA begins; a rotation needs an overlap"));
        checks.refuse_if(
            *old.name() == self.profile.subject,
            raw.span(),
            format!("{file} has the same subject; give the new CA a name of its own, so that logs and people can tell them apart"),
        );
        Some((file.clone(), overlap))
    }

    /// Lints the exact certificate but for serial number and key, which may not exist yet.
    fn lint(&self, raw: &RawCeremony, checks: &mut Checks<'_>) {
        let Some(span) = raw.certificate.as_ref().map(Spanned::span) else { return };
        match self.standin() {
            Ok(_) => {}
            Err(reasons) => reasons.into_iter().for_each(|reason| checks.fault(span.clone(), reason)),
        }
    }

    /// The certificate with stand-ins for what does not exist yet: what dry runs show.
    pub(super) fn standin(&self) -> Result<Linted, Vec<String>> {
        let told = |e: &dyn std::fmt::Display| vec![e.to_string()];
        let spki = match &self.key {
            SubjectKey::New(key) => standin::spki(key.algorithm).map_err(|e| told(&e))?,
            SubjectKey::Exists { spki_der, .. } => spki_der.clone(),
        };
        self.build(&spki, &Serial::parse(&"01".repeat(20)).map_err(|e| told(&e))?)
    }

    /// The issuer: another CA, or for a root the certificate's own subject and key.
    pub(super) fn issuer_for(&self, spki_der: &[u8]) -> Result<Issuer, String> {
        match &self.issuer {
            Some(part) => Ok(part.issuer.clone()),
            None => Issuer::self_signed(self.profile.subject.clone(), spki_der.to_vec(), self.validity()).map_err(|e| e.to_string()),
        }
    }

    fn validity(&self) -> Validity {
        self.profile.validity
    }

    /// Builds and lints the certificate for this key and serial. Same inputs, same bytes.
    pub(super) fn build(&self, spki_der: &[u8], serial: &Serial) -> Result<Linted, Vec<String>> {
        let issuer = self.issuer_for(spki_der).map_err(|e| vec![e])?;
        let tbs = Tbs::build(&self.profile.plan(spki_der), &issuer, serial).map_err(|e| vec![e.to_string()])?;
        lint(tbs, &issuer).map_err(|findings| findings.iter().map(ToString::to_string).collect())
    }

    pub(super) fn tokens(&self) -> Vec<&TokenRole> {
        let key = match &self.key {
            SubjectKey::New(key) => Some(&key.token),
            SubjectKey::Exists { .. } => None,
        };
        key.into_iter().chain(self.issuer.iter().map(|i| &i.token)).collect()
    }
}

fn subject_of(raw: &Spanned<RawFile>, base: &Path, checks: &mut Checks<'_>) -> Option<(Vec<u8>, Issuer)> {
    let file = &raw.get_ref().certificate;
    match ca_certificate(&base.join(file.get_ref()), Must::BeCa) {
        Ok((_, issuer)) => Some((issuer.spki_der().to_vec(), issuer)),
        Err(reason) => refuse(checks, file.span(), &format!("{}: {reason}", file.get_ref())),
    }
}

//! The checked ceremony: valid by construction, linted, its input files read.

use super::certificate::{CaProfile, INTERMEDIATE, Limits, ROOT};
use super::error::CeremonyError;
use super::fault::Checks;
use super::outputs::Output;
use super::quorum::Quorum;
use super::spec::{RawCeremony, RawIssuer, RawKey, RawOutputs, VERSION};
use super::standin;
use crate::token::TokenUri;
use crate::types::{Fingerprint, KeyAlgorithm, Serial};
use crate::x509::lint::lint;
use crate::x509::tbs::{Issuer, Linted, Tbs};
use crate::x509::{keys, pem};
use der::{Decode, Encode};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use toml::Spanned;
use x509_cert::certificate::Certificate;
use x509_cert::ext::pkix::BasicConstraints;

/// Largest ceremony file and largest input file, bytes.
const MAX_FILE: u64 = 256 * 1024;
const MAX_TITLE: usize = 120;

/// A token that the ceremony needs, and where its PIN may come from.
#[derive(Clone, Debug)]
pub struct TokenRole {
    /// `key` (where the new key is made) or `issuer` (whose key signs).
    pub role: &'static str,
    /// PKCS#11 module.
    pub module: PathBuf,
    /// The token, by serial number (K3).
    pub uri: TokenUri,
    /// PIN file named in the ceremony file.
    pub pin_file: Option<PathBuf>,
}

/// The key to make.
#[derive(Clone, Debug)]
pub(super) struct NewKey {
    pub token: TokenRole,
    pub algorithm: KeyAlgorithm,
    pub label: String,
}

/// The CA that signs the new one.
#[derive(Clone, Debug)]
pub(super) struct IssuerPart {
    pub token: TokenRole,
    pub certificate: Vec<u8>,
    pub file: String,
    pub issuer: Issuer,
    pub fingerprint: Fingerprint,
}

/// A ceremony that may be carried out. There is no other way to make one than [`Ceremony::read`].
#[derive(Clone, Debug)]
pub struct Ceremony {
    pub(super) name: String,
    pub(super) digest: [u8; 32],
    pub(super) title: String,
    pub(super) test: bool,
    pub(super) kind: &'static str,
    pub(super) key: NewKey,
    pub(super) issuer: Option<IssuerPart>,
    pub(super) profile: CaProfile,
    pub(super) quorum: Option<Quorum>,
    pub(super) outputs: Vec<Output>,
    pub(super) journal: Output,
    pub(super) transcript: Output,
}

impl Ceremony {
    /// Reads and checks the file, its input files and the certificate that it would make. Touches
    /// no token and writes nothing. Paths in the file are relative to the file.
    pub fn read(path: &Path) -> Result<Self, CeremonyError> {
        let unreadable = |reason: String| CeremonyError::Unreadable { path: path.display().to_string(), reason };
        let bytes = read_bounded(path).map_err(unreadable)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| unreadable("not UTF-8".into()))?;
        let mut checks = Checks::new(path.display().to_string(), text);
        let raw: RawCeremony = match toml::from_str(text) {
            Ok(raw) => raw,
            Err(error) => {
                checks.fault(error.span().unwrap_or(0..0), error.message());
                return Err(CeremonyError::Faulty(checks.into_faults()));
            }
        };
        let base = path.parent().unwrap_or(Path::new(""));
        let checked = Self::check(&raw, base, &mut checks);
        match (checked, checks.into_faults()) {
            (Some(mut ceremony), faults) if faults.is_empty() => {
                ceremony.name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                ceremony.digest = Sha256::digest(&bytes).into();
                Ok(ceremony)
            }
            (_, faults) => Err(CeremonyError::Faulty(faults)),
        }
    }

    fn check(raw: &RawCeremony, base: &Path, checks: &mut Checks<'_>) -> Option<Self> {
        let version = *raw.version.get_ref();
        checks.refuse_if(version != VERSION, raw.version.span(), format!("version {version} is not {VERSION}, the only one known"));
        let (kind, limits): (_, &Limits) = match raw.kind.get_ref().as_str() {
            "root" => ("root", &ROOT),
            "intermediate" => ("intermediate", &INTERMEDIATE),
            other => {
                checks.fault(raw.kind.span(), format!("kind '{other}' is not root or intermediate"));
                return None;
            }
        };
        let test = match raw.purpose.get_ref().as_str() {
            "test" => true,
            "production" => false,
            other => {
                checks.fault(raw.purpose.span(), format!("purpose '{other}' is not test or production"));
                return None;
            }
        };
        let title = raw.title.get_ref();
        let bad_title = title.is_empty() || title.chars().count() > MAX_TITLE || title.chars().any(char::is_control);
        checks.refuse_if(bad_title, raw.title.span(), format!("title has 1 to {MAX_TITLE} characters without control characters"));
        let key = new_key(raw.key.get_ref(), base, checks);
        let profile = CaProfile::check(&raw.certificate, limits, test, checks);
        let issuer = match (&raw.issuer, kind) {
            (None, "root") => Some(None),
            (Some(issuer), "intermediate") => issuer_part(issuer.get_ref(), base, checks).map(Some),
            (Some(issuer), _) => refuse(checks, issuer.span(), "a root signs itself: remove the [issuer] table"),
            (None, _) => refuse(checks, raw.kind.span(), "an intermediate needs an [issuer] table"),
        };
        let quorum = match &raw.approvals {
            Some(table) => Quorum::check(table.get_ref(), base, checks).map(Some),
            None => Some(None),
        };
        checks.refuse_if(!test && raw.approvals.is_none(), raw.purpose.span(), "a production ceremony needs an [approvals] table");
        let outputs = outputs(&raw.outputs, kind, base, checks);
        let (key, profile, issuer) = (key?, profile?, issuer?);
        let journal = Output::new("journal", &raw.outputs.get_ref().journal, base);
        let transcript = Output::new("transcript", &raw.outputs.get_ref().transcript, base);
        let ceremony = Self {
            name: String::new(),
            digest: [0; 32],
            title: title.clone(),
            test,
            kind,
            key,
            issuer,
            profile,
            quorum: quorum?,
            outputs: outputs?,
            journal,
            transcript,
        };
        ceremony.check_issuer(raw, checks);
        ceremony.lint(raw, checks);
        Some(ceremony)
    }

    fn check_issuer(&self, raw: &RawCeremony, checks: &mut Checks<'_>) {
        let (Some(part), Some(table)) = (&self.issuer, &raw.issuer) else { return };
        let table = table.get_ref();
        let same_token = part.token.uri.serial() == self.key.token.uri.serial();
        checks.refuse_if(same_token, table.token.span(), "the root's key and the intermediate's belong in different tokens");
        let same_name = *part.issuer.name() == self.profile.subject;
        let subject = raw.certificate.get_ref().subject.span();
        checks.refuse_if(same_name, subject, "the intermediate has its issuer's name; path building would loop (RFC 5280 §6.1)");
    }

    /// Lints the exact certificate but for serial number and key, which do not exist yet.
    fn lint(&self, raw: &RawCeremony, checks: &mut Checks<'_>) {
        let spki = checks.take(raw.key.get_ref().algorithm.span(), standin::spki(self.key.algorithm));
        let serial = checks.take(raw.certificate.span(), Serial::generate());
        let (Some(spki), Some(serial)) = (spki, serial) else { return };
        if let Err(reasons) = self.build(&spki, &serial) {
            for reason in reasons {
                checks.fault(raw.certificate.span(), reason);
            }
        }
    }

    /// The issuer: another CA, or for a root the certificate's own subject and key.
    pub(super) fn issuer_for(&self, spki_der: &[u8]) -> Result<Issuer, String> {
        match &self.issuer {
            Some(part) => Ok(part.issuer.clone()),
            None => Issuer::self_signed(self.profile.subject.clone(), spki_der.to_vec(), self.profile.validity).map_err(|e| e.to_string()),
        }
    }

    /// Builds and lints the certificate for this key and serial. Same inputs, same bytes.
    pub(super) fn build(&self, spki_der: &[u8], serial: &Serial) -> Result<Linted, Vec<String>> {
        let issuer = self.issuer_for(spki_der).map_err(|e| vec![e])?;
        let tbs = Tbs::build(&self.profile.plan(spki_der), &issuer, serial).map_err(|e| vec![e.to_string()])?;
        lint(tbs, &issuer).map_err(|findings| findings.iter().map(ToString::to_string).collect())
    }

    /// The tokens that [`Ceremony::run`] logs in to.
    pub fn tokens(&self) -> Vec<&TokenRole> {
        std::iter::once(&self.key.token).chain(self.issuer.iter().map(|i| &i.token)).collect()
    }
}

fn refuse<T>(checks: &mut Checks<'_>, span: std::ops::Range<usize>, message: &str) -> Option<T> {
    checks.fault(span, message);
    None
}

pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > MAX_FILE {
        return Err(format!("has {size} bytes; at most {MAX_FILE} are accepted"));
    }
    std::fs::read(path).map_err(|e| e.to_string())
}

fn token_role(
    role: &'static str,
    uri: &Spanned<String>,
    pin_file: Option<&Spanned<String>>,
    base: &Path,
    checks: &mut Checks<'_>,
) -> Option<TokenRole> {
    let parsed = checks.take(uri.span(), TokenUri::parse(uri.get_ref()))?;
    checks.refuse_if(parsed.serial().is_none(), uri.span(), "name the token by its serial number (labels repeat): pkcs11:serial=…");
    checks.refuse_if(parsed.object().is_some() || parsed.id().is_some(), uri.span(), "this URI names a token, not a key");
    let Some(module) = parsed.module_path().map(Path::to_owned) else {
        return refuse(checks, uri.span(), "name the vendor's library: pkcs11:serial=…?module-path=/usr/lib/…");
    };
    checks.refuse_if(!module.is_file(), uri.span(), format!("module-path {} is not a file", module.display()));
    Some(TokenRole { role, module, uri: parsed, pin_file: pin_file.map(|p| base.join(p.get_ref())) })
}

fn new_key(raw: &RawKey, base: &Path, checks: &mut Checks<'_>) -> Option<NewKey> {
    let token = token_role("key", &raw.token, raw.pin_file.as_ref(), base, checks);
    let algorithm = checks.take(raw.algorithm.span(), KeyAlgorithm::parse(raw.algorithm.get_ref()));
    let label = raw.label.get_ref();
    let bad_label = label.is_empty() || label.len() > 64 || label.chars().any(char::is_control);
    checks.refuse_if(bad_label, raw.label.span(), "label has 1 to 64 bytes without control characters");
    Some(NewKey { token: token?, algorithm: algorithm?, label: label.clone() })
}

fn issuer_part(raw: &RawIssuer, base: &Path, checks: &mut Checks<'_>) -> Option<IssuerPart> {
    let token = token_role("issuer", &raw.token, raw.pin_file.as_ref(), base, checks);
    let wanted = checks.take(raw.fingerprint.span(), Fingerprint::parse(raw.fingerprint.get_ref()));
    let file = raw.certificate.get_ref();
    let read = read_bounded(&base.join(file)).and_then(|bytes| issuer_certificate(&bytes));
    let (certificate, issuer) = checks.take(raw.certificate.span(), read.map_err(|e| format!("{file}: {e}")))?;
    let fingerprint = Fingerprint::of_spki(issuer.spki_der());
    if wanted? != fingerprint {
        return refuse(checks, raw.fingerprint.span(), &format!("{file} holds the key {fingerprint}, not this one"));
    }
    Some(IssuerPart { token: token?, certificate, file: file.clone(), issuer, fingerprint })
}

/// One certificate that may issue an intermediate, its signature checked when it is self-signed.
fn issuer_certificate(bytes: &[u8]) -> Result<(Vec<u8>, Issuer), String> {
    let mut all = pem::certificates(bytes)?;
    let (1, Some(der)) = (all.len(), all.pop()) else { return Err("must hold exactly one certificate".into()) };
    let issuer = Issuer::from_certificate(&der).map_err(|e| e.to_string())?;
    let cert = Certificate::from_der(&der).map_err(|e| e.to_string())?;
    let tbs = cert.tbs_certificate();
    match tbs.get_extension::<BasicConstraints>().map_err(|e| e.to_string())? {
        Some((_, BasicConstraints { ca: true, path_len_constraint: None | Some(1..) })) => {}
        _ => return Err("may not issue an intermediate: it is no CA, or its pathLenConstraint is 0".into()),
    }
    if tbs.issuer() == tbs.subject() {
        let signed = tbs.to_der().map_err(|e| e.to_string())?;
        let signature = cert.signature().as_bytes().unwrap_or_default();
        let algorithm = keys::signature_algorithm(cert.signature_algorithm()).map_err(|e| e.to_string())?;
        keys::verify(issuer.spki_der(), algorithm, &signed, signature).map_err(|_| "its own signature does not verify".to_owned())?;
    }
    Ok((der, issuer))
}

fn outputs(raw: &Spanned<RawOutputs>, kind: &str, base: &Path, checks: &mut Checks<'_>) -> Option<Vec<Output>> {
    let table = raw.get_ref();
    let mut out = vec![Output::new("certificate", &table.certificate, base)];
    for (role, path) in [("request", &table.request), ("chain", &table.chain)] {
        match (path, kind) {
            (Some(path), "intermediate") => out.push(Output::new(role, path, base)),
            (None, "intermediate") => checks.fault(raw.span(), format!("name the {role} file: {role} = \"….pem\"")),
            (Some(path), _) => checks.fault(path.span(), format!("a {kind} ceremony makes no {role}")),
            (None, _) => {}
        }
    }
    let all = [&table.journal, &table.transcript, &table.certificate];
    let all: Vec<_> = all.into_iter().chain(&table.request).chain(&table.chain).collect();
    for (n, path) in all.iter().enumerate() {
        let twice = all.iter().take(n).any(|p| base.join(p.get_ref()) == base.join(path.get_ref()));
        checks.refuse_if(twice, path.span(), "two outputs have the same path");
        checks.refuse_if(path.get_ref().is_empty(), path.span(), "an output needs a file name");
    }
    Some(out)
}

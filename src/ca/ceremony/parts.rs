//! The pieces that ceremony files are made of: tokens, keys to make, CAs that exist.

use super::fault::Checks;
use super::spec::{RawExisting, RawIssuer, RawKey};
use crate::token::TokenUri;
use crate::types::{Fingerprint, KeyAlgorithm};
use crate::x509::tbs::Issuer;
use crate::x509::{keys, pem};
use der::{Decode, Encode};
use std::path::{Path, PathBuf};
use toml::Spanned;
use x509_cert::certificate::Certificate;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

/// Largest ceremony file and largest input file, bytes.
const MAX_FILE: u64 = 256 * 1024;

/// A token that the ceremony needs, and where its PIN may come from.
#[derive(Clone, Debug)]
pub struct TokenRole {
    /// `key` (where the new key is made), `issuer` (whose key signs) or `existing` (whose key is looked at).
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

pub(super) fn refuse<T>(checks: &mut Checks<'_>, span: std::ops::Range<usize>, message: &str) -> Option<T> {
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

pub(super) fn new_key(raw: &RawKey, base: &Path, checks: &mut Checks<'_>) -> Option<NewKey> {
    let token = token_role("key", &raw.token, raw.pin_file.as_ref(), base, checks);
    let algorithm = checks.take(raw.algorithm.span(), KeyAlgorithm::parse(raw.algorithm.get_ref()));
    let label = raw.label.get_ref();
    let bad_label = label.is_empty() || label.len() > 64 || label.chars().any(char::is_control);
    checks.refuse_if(bad_label, raw.label.span(), "label has 1 to 64 bytes without control characters");
    Some(NewKey { token: token?, algorithm: algorithm?, label: label.clone() })
}

pub(super) fn issuer_part(raw: &RawIssuer, must: Must, base: &Path, checks: &mut Checks<'_>) -> Option<IssuerPart> {
    let token = token_role("issuer", &raw.token, raw.pin_file.as_ref(), base, checks);
    let wanted = checks.take(raw.fingerprint.span(), Fingerprint::parse(raw.fingerprint.get_ref()));
    let file = raw.certificate.get_ref();
    let read = ca_certificate(&base.join(file), must).map_err(|e| format!("{file}: {e}"));
    let (certificate, issuer) = checks.take(raw.certificate.span(), read)?;
    let fingerprint = Fingerprint::of_spki(issuer.spki_der());
    if wanted? != fingerprint {
        return refuse(checks, raw.fingerprint.span(), &format!("{file} holds the key {fingerprint}, not this one"));
    }
    Some(IssuerPart { token: token?, certificate, file: file.clone(), issuer, fingerprint })
}

/// What a CA certificate must allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Must {
    /// Issue another CA.
    IssueCa,
    /// Sign CRLs.
    SignCrl,
    /// Nothing but being a CA.
    BeCa,
}

/// The one CA certificate in a file, its signature checked when it is self-signed.
pub(super) fn ca_certificate(path: &Path, must: Must) -> Result<(Vec<u8>, Issuer), String> {
    let mut all = pem::certificates(&read_bounded(path)?)?;
    let (1, Some(der)) = (all.len(), all.pop()) else { return Err("must hold exactly one certificate".into()) };
    let issuer = Issuer::from_certificate(&der).map_err(|e| e.to_string())?;
    let cert = Certificate::from_der(&der).map_err(|e| e.to_string())?;
    let tbs = cert.tbs_certificate();
    let constraints = tbs.get_extension::<BasicConstraints>().map_err(|e| e.to_string())?;
    let usage = tbs.get_extension::<KeyUsage>().map_err(|e| e.to_string())?;
    match (constraints, must) {
        (Some((_, BasicConstraints { ca: true, path_len_constraint: Some(0) })), Must::IssueCa) | (None, _) => {
            return Err("may not issue an intermediate: it is no CA, or its pathLenConstraint is 0".into());
        }
        (Some((_, constraints)), _) if !constraints.ca => return Err("is no CA certificate".into()),
        _ => {}
    }
    if must == Must::SignCrl && !usage.is_some_and(|(_, usage)| usage.crl_sign()) {
        return Err("may not sign CRLs: its keyUsage lacks cRLSign".into());
    }
    if tbs.issuer() == tbs.subject() {
        let signed = tbs.to_der().map_err(|e| e.to_string())?;
        let signature = cert.signature().as_bytes().unwrap_or_default();
        let algorithm = keys::signature_algorithm(cert.signature_algorithm()).map_err(|e| e.to_string())?;
        keys::verify(issuer.spki_der(), algorithm, &signed, signature).map_err(|_| "its own signature does not verify".to_owned())?;
    }
    Ok((der, issuer))
}

/// A key that exists, named by its certificate and fingerprint.
#[derive(Clone, Debug)]
pub(super) struct Existing {
    pub token: TokenRole,
    pub file: String,
    pub spki_der: Vec<u8>,
    pub fingerprint: Fingerprint,
}

pub(super) fn existing(raw: &RawExisting, base: &Path, checks: &mut Checks<'_>) -> Option<Existing> {
    let token = token_role("existing", &raw.token, raw.pin_file.as_ref(), base, checks);
    let wanted = checks.take(raw.fingerprint.span(), Fingerprint::parse(raw.fingerprint.get_ref()));
    let file = raw.certificate.get_ref();
    let read = ca_certificate(&base.join(file), Must::BeCa).map_err(|e| format!("{file}: {e}"));
    let (_, issuer) = checks.take(raw.certificate.span(), read)?;
    let fingerprint = Fingerprint::of_spki(issuer.spki_der());
    if wanted? != fingerprint {
        return refuse(checks, raw.fingerprint.span(), &format!("{file} holds the key {fingerprint}, not this one"));
    }
    Some(Existing { token: token?, file: file.clone(), spki_der: issuer.spki_der().to_vec(), fingerprint })
}

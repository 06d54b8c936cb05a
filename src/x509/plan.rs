//! What a certificate shall say, decided before serial and issuer are known.

use crate::types::Validity;
use x509_cert::ext::Extension;
use x509_cert::name::Name;

/// The content of a certificate as policy or ceremony decided it. AKI and SKI are added by
/// [`super::tbs::Tbs::build`], which alone knows the issuer.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Subject distinguished name.
    pub subject: Name,
    /// DER SubjectPublicKeyInfo of the requester.
    pub spki_der: Vec<u8>,
    /// Validity period.
    pub validity: Validity,
    /// Extensions in order, without AKI and SKI.
    pub extensions: Vec<Extension>,
    /// Whether to add a subjectKeyIdentifier (RFC 5280 §4.2.1.2 method 1).
    pub subject_key_identifier: bool,
    /// Whether the leaf may outlive its issuer (P3, 802.1AR).
    pub may_outlive_issuer: bool,
}

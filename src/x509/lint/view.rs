//! A certificate decoded once for all rules.

use crate::types::KeyAlgorithm;
use crate::x509::keys;
use crate::x509::tbs::Issuer;
use const_oid::AssociatedOid;
use der::{Decode, Encode};
use x509_cert::certificate::TbsCertificate;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::{GeneralName, HardwareModuleName};
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies, CrlDistributionPoints, ExtendedKeyUsage,
    KeyUsage, NameConstraints, SubjectAltName, SubjectKeyIdentifier,
};

/// An extension as found.
pub(super) enum Ext<T> {
    Absent,
    Malformed,
    Present { critical: bool, value: T },
}

impl<T> Ext<T> {
    pub(super) fn value(&self) -> Option<&T> {
        match self {
            Self::Present { value, .. } => Some(value),
            _ => None,
        }
    }

    /// Criticality when present.
    pub(super) fn critical(&self) -> Option<bool> {
        match self {
            Self::Present { critical, .. } => Some(*critical),
            _ => None,
        }
    }

    pub(super) fn is_malformed(&self) -> bool {
        matches!(self, Self::Malformed)
    }
}

/// The decoded certificate and what is known of its issuer.
pub(super) struct View<'a> {
    pub tbs: &'a TbsCertificate,
    pub der: &'a [u8],
    pub issuer: Option<&'a Issuer>,
    pub may_outlive_issuer: bool,
    pub extensions: &'a [Extension],
    pub key: Option<KeyAlgorithm>,
    pub spki_der: Vec<u8>,
    pub basic: Ext<BasicConstraints>,
    pub usage: Ext<KeyUsage>,
    pub purposes: Ext<ExtendedKeyUsage>,
    pub alt: Ext<SubjectAltName>,
    pub own_key: Ext<SubjectKeyIdentifier>,
    pub issuer_key: Ext<AuthorityKeyIdentifier>,
    pub policies: Ext<CertificatePolicies>,
    pub access: Ext<AuthorityInfoAccessSyntax>,
    pub crl: Ext<CrlDistributionPoints>,
    pub constraints: Ext<NameConstraints>,
}

/// The extension of type `T`; a second one is the business of the rule against duplicates.
fn find<T: AssociatedOid + for<'d> Decode<'d>>(list: &[Extension]) -> Ext<T> {
    match list.iter().find(|e| e.extn_id == T::OID) {
        None => Ext::Absent,
        Some(e) => match T::from_der(e.extn_value.as_bytes()) {
            Ok(value) => Ext::Present { critical: e.critical, value },
            Err(_) => Ext::Malformed,
        },
    }
}

impl<'a> View<'a> {
    pub(super) fn new(tbs: &'a TbsCertificate, der: &'a [u8], issuer: Option<&'a Issuer>, may_outlive_issuer: bool) -> Self {
        let list = tbs.extensions().map(Vec::as_slice).unwrap_or_default();
        let spki_der = tbs.subject_public_key_info().to_der().unwrap_or_default();
        Self {
            tbs,
            der,
            issuer,
            may_outlive_issuer,
            extensions: list,
            key: keys::classify(&spki_der).ok(),
            spki_der,
            basic: find(list),
            usage: find(list),
            purposes: find(list),
            alt: find(list),
            own_key: find(list),
            issuer_key: find(list),
            policies: find(list),
            access: find(list),
            crl: find(list),
            constraints: find(list),
        }
    }

    pub(super) fn is_ca(&self) -> bool {
        self.basic.value().is_some_and(|b| b.ca)
    }

    /// Issuer and subject are one name.
    pub(super) fn self_issued(&self) -> bool {
        self.tbs.subject() == self.tbs.issuer()
    }

    pub(super) fn alt_names(&self) -> &[GeneralName] {
        self.alt.value().map_or(&[], |a| a.0.as_slice())
    }

    /// The HardwareModuleNames among the alternative names (RFC 4108 §5).
    pub(super) fn hardware_names(&self) -> impl Iterator<Item = HardwareModuleName> + '_ {
        self.alt_names().iter().filter_map(|n| match n {
            GeneralName::OtherName(other) => HardwareModuleName::from_other_name(other).ok().flatten(),
            _ => None,
        })
    }
}

//! Certificate revocation lists, full, delta and partitioned, built in one pass over sorted
//! entries so that a million of them need little more memory than the list itself.

use super::{Reason, StatusError};
use crate::types::Serial;
use crate::x509::keys;
use crate::x509::tbs::{self, Issuer, extension};
use const_oid::db::rfc5280::{ID_CE_CRL_REASONS, ID_CE_ISSUING_DISTRIBUTION_POINT};
use der::asn1::{BitStringRef, OctetString};
use der::{Decode, Encode, Header, Length, Reader, SliceReader, Tag, TagNumber};
use spki::AlgorithmIdentifierOwned;
use std::io::Write;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BaseCrlNumber, CrlNumber, IssuingDistributionPoint};
use x509_cert::time::Time;

/// Bytes that an entry takes at most: serial, GeneralizedTime, reason.
const ENTRY: usize = 56;
/// Most entries of one list; beyond it partition.
pub const MAX_ENTRIES: usize = 4_000_000;

/// One revoked certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revoked {
    /// Serial number.
    pub serial: Serial,
    /// Unix seconds of the revocation.
    pub at: i64,
    /// Why.
    pub reason: Reason,
}

/// Which certificates a list speaks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// All certificates of the issuer.
    Full,
    /// Changes since the full list of this number (RFC 5280 §5.2.4).
    Delta(u64),
    /// Certificates whose cRLDistributionPoints name this URI (RFC 5280 §5.2.5).
    Partition(String),
}

/// Number, times and scope of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    number: u64,
    this_update: i64,
    next_update: i64,
    scope: Scope,
}

impl Head {
    /// A head; `previous` is the list of the same scope before it: numbers and times only rise (I5).
    pub fn new(number: u64, this_update: i64, next_update: i64, scope: Scope, previous: Option<&Self>) -> Result<Self, StatusError> {
        let rule = |clause, reason: String| Err(StatusError::Rule { clause, reason });
        if next_update <= this_update {
            return rule("RFC 5280 §5.1.2.5", "nextUpdate must be later than thisUpdate".into());
        }
        if let Some(before) = previous {
            if number <= before.number {
                return rule("RFC 5280 §5.2.3", format!("CRL number {number} does not exceed the last one, {}", before.number));
            }
            if this_update < before.this_update {
                return rule(
                    "I5",
                    format!("thisUpdate {this_update} lies before the last list's {}: is the clock right?", before.this_update),
                );
            }
        }
        match &scope {
            Scope::Delta(base) if *base >= number => {
                return rule("RFC 5280 §5.2.4", format!("a delta to list {base} must have a higher number"));
            }
            Scope::Partition(uri) if uri.is_empty() || uri.len() > 512 || !uri.is_ascii() => {
                return rule("RFC 5280 §5.2.5", "a distribution point is a URI of 1 to 512 ASCII characters".into());
            }
            _ => {}
        }
        Ok(Self { number, this_update, next_update, scope })
    }

    /// cRLNumber.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// thisUpdate, Unix seconds.
    pub fn this_update(&self) -> i64 {
        self.this_update
    }

    /// nextUpdate, Unix seconds.
    pub fn next_update(&self) -> i64 {
        self.next_update
    }

    /// Certificates that the list speaks for.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    fn extensions(&self, issuer: &Issuer) -> Result<Vec<Extension>, StatusError> {
        let uint = |n: u64| der::asn1::Uint::new(&n.to_be_bytes()).map_err(invalid);
        let key_identifier = Some(OctetString::new(issuer.key_identifier()).map_err(invalid)?);
        let mut list = vec![
            extension(&AuthorityKeyIdentifier { key_identifier, ..Default::default() }, false)?,
            extension(&CrlNumber(uint(self.number)?), false)?,
        ];
        match &self.scope {
            Scope::Full => {}
            Scope::Delta(base) => list.push(extension(&BaseCrlNumber(uint(*base)?), true)?),
            Scope::Partition(uri) => {
                let uri = der::asn1::Ia5String::new(uri).map_err(invalid)?;
                let point = IssuingDistributionPoint {
                    distribution_point: Some(DistributionPointName::FullName(vec![GeneralName::UniformResourceIdentifier(uri)])),
                    only_contains_user_certs: false,
                    only_contains_ca_certs: false,
                    only_some_reasons: None,
                    indirect_crl: false,
                    only_contains_attribute_certs: false,
                };
                // x509-cert 0.3.0 associates the OID of another extension with this type.
                let extn_value = point.to_der().and_then(OctetString::new).map_err(invalid)?;
                list.push(Extension { extn_id: ID_CE_ISSUING_DISTRIBUTION_POINT, critical: true, extn_value });
            }
        }
        Ok(list)
    }
}

/// A TBSCertList ready to be signed.
#[derive(Clone, Debug)]
pub struct TbsCrl {
    der: Vec<u8>,
    entries: usize,
}

impl TbsCrl {
    /// Builds the list. Entries must come with strictly rising serial numbers, so that none
    /// occurs twice and the same entries give the same bytes.
    pub fn build(issuer: &Issuer, head: &Head, revoked: impl IntoIterator<Item = Revoked>) -> Result<Self, StatusError> {
        let revoked = revoked.into_iter();
        let mut front = vec![0x02, 0x01, 0x01];
        for part in [
            keys::algorithm_identifier(issuer.algorithm()).to_der(),
            issuer.name().to_der(),
            tbs::time(head.this_update)?.to_der(),
            tbs::time(head.next_update)?.to_der(),
        ] {
            front.extend(part.map_err(invalid)?);
        }
        let extensions = head.extensions(issuer)?.to_der().map_err(invalid)?;
        let number = TagNumber(0);
        let wrapped =
            Header::new(Tag::ContextSpecific { constructed: true, number }, length(extensions.len())?).to_der().map_err(invalid)?;

        // Written behind room for everything that stands in front of it, whose length follows.
        let room = front.len() + 24;
        let mut body = Vec::with_capacity(room + revoked.size_hint().0 * ENTRY + extensions.len() + 64);
        body.resize(room, 0);
        let entries = write_entries(&mut body, revoked, &head.scope)?;
        let list = body.len() - room;
        if list > 0 {
            // RFC 5280 §5.1.2.6: absent, not empty, when nothing is revoked.
            front.extend(Header::new(Tag::Sequence, length(list)?).to_der().map_err(invalid)?);
        }
        let total = front.len() + list + wrapped.len() + extensions.len();
        let mut start = Header::new(Tag::Sequence, length(total)?).to_der().map_err(invalid)?;
        start.extend(front);
        body.extend_from_slice(&wrapped);
        body.extend_from_slice(&extensions);
        let unused = room.checked_sub(start.len()).ok_or_else(|| invalid(der::ErrorKind::Overflow.into()))?;
        body.drain(..unused);
        body.get_mut(..start.len()).ok_or_else(|| invalid(der::ErrorKind::Overflow.into()))?.copy_from_slice(&start);
        Ok(Self { der: body, entries })
    }

    /// The bytes to sign.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Certificates listed.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Writes the DER CertificateList after verifying the issuer's signature (X.509 form); no
    /// second copy of the list is made.
    pub fn write_signed(&self, issuer: &Issuer, signature: &[u8], out: &mut dyn Write) -> Result<(), StatusError> {
        keys::verify(issuer.spki_der(), issuer.algorithm(), &self.der, signature)?;
        let algorithm = keys::algorithm_identifier(issuer.algorithm()).to_der().map_err(invalid)?;
        let signature = BitStringRef::from_bytes(signature).and_then(|s| s.to_der()).map_err(invalid)?;
        let total = self.der.len() + algorithm.len() + signature.len();
        let header = Header::new(Tag::Sequence, length(total)?).to_der().map_err(invalid)?;
        [&header[..], &self.der, &algorithm, &signature]
            .iter()
            .try_for_each(|part| out.write_all(part))
            .map_err(|e| StatusError::Write(e.to_string()))
    }
}

fn invalid(e: der::Error) -> StatusError {
    StatusError::Der { what: "CRL", reason: e.to_string() }
}

fn length(n: usize) -> Result<Length, StatusError> {
    Length::try_from(n).map_err(invalid)
}

fn write_entries(out: &mut Vec<u8>, revoked: impl Iterator<Item = Revoked>, scope: &Scope) -> Result<usize, StatusError> {
    let mut last: Option<Serial> = None;
    let mut count = 0;
    let mut time = (i64::MIN, Vec::new());
    for entry in revoked {
        if last.is_some_and(|last| last >= entry.serial) {
            let reason = format!("serial number {} comes twice or out of order", entry.serial);
            return Err(StatusError::Rule { clause: "RFC 5280 §5.1.2.6", reason });
        }
        if entry.reason == Reason::RemoveFromCrl && !matches!(scope, Scope::Delta(_)) {
            let reason = format!("serial number {}: removeFromCRL belongs in delta lists alone", entry.serial);
            return Err(StatusError::Rule { clause: "RFC 5280 §5.3.1", reason });
        }
        if count == MAX_ENTRIES {
            return Err(StatusError::Rule { clause: "bound", reason: format!("over {MAX_ENTRIES} entries; partition the list") });
        }
        if time.0 != entry.at {
            time = (entry.at, tbs::time(entry.at)?.to_der().map_err(invalid)?);
        }
        // Serial numbers have 20 octets, so every length below stays under 128: one octet each.
        let reason: &[u8] = match entry.reason {
            Reason::Unspecified => &[],
            // Extensions { Extension { id-ce-cRLReasons, OCTET STRING { ENUMERATED } } }
            other => &[0x30, 0x0c, 0x30, 0x0a, 0x06, 0x03, 0x55, 0x1d, 0x15, 0x04, 0x03, 0x0a, 0x01, other.code()],
        };
        out.extend_from_slice(&[0x30, (22 + time.1.len() + reason.len()) as u8, 0x02, 20]);
        out.extend_from_slice(entry.serial.as_bytes());
        out.extend_from_slice(&time.1);
        out.extend_from_slice(reason);
        last = Some(entry.serial);
        count += 1;
    }
    Ok(count)
}

/// A signed list whose signature was verified; serial numbers are looked up in the bytes.
#[derive(Clone, Debug)]
pub struct SignedCrl<'a> {
    number: u64,
    base: Option<u64>,
    this_update: i64,
    next_update: i64,
    entries: &'a [u8],
}

impl<'a> SignedCrl<'a> {
    /// Reads a DER CertificateList and verifies it with its issuer. Unknown critical extensions
    /// are refused (RFC 5280 §5.2).
    pub fn open(der: &'a [u8], issuer: &Issuer) -> Result<Self, StatusError> {
        let mut outer = enter(der)?;
        let tbs_der = outer.tlv_bytes().map_err(invalid)?;
        let algorithm = AlgorithmIdentifierOwned::decode(&mut outer).map_err(invalid)?;
        let signature = BitStringRef::decode(&mut outer).map_err(invalid)?;
        outer.finish().map_err(invalid)?;
        let algorithm = keys::signature_algorithm(&algorithm)?;
        keys::verify(issuer.spki_der(), algorithm, tbs_der, signature.as_bytes().unwrap_or_default())?;

        let mut reader = enter(tbs_der)?;
        let version = u8::decode(&mut reader).map_err(invalid)?;
        let inner = keys::signature_algorithm(&AlgorithmIdentifierOwned::decode(&mut reader).map_err(invalid)?)?;
        let name = x509_cert::name::Name::decode(&mut reader).map_err(invalid)?;
        check(version == 1 && inner == algorithm, "RFC 5280 §5.1.1.2", "not version 2, or two different signature algorithms")?;
        check(name == *issuer.name(), "RFC 5280 §5.1.2.3", "the list is of another issuer")?;
        let this_update = tbs::seconds(&Time::decode(&mut reader).map_err(invalid)?);
        let next_update = tbs::seconds(&Time::decode(&mut reader).map_err(invalid)?);
        let mut entries: &[u8] = &[];
        if Tag::peek(&reader).is_ok_and(|tag| tag == Tag::Sequence) {
            let list = reader.tlv_bytes().map_err(invalid)?;
            let mut inside = SliceReader::new(list).map_err(invalid)?;
            Header::decode(&mut inside).map_err(invalid)?;
            entries = inside.read_slice(inside.remaining_len()).map_err(invalid)?;
        }
        let extensions = der::asn1::ContextSpecific::<Vec<Extension>>::decode_explicit(&mut reader, TagNumber(0)).map_err(invalid)?;
        reader.finish().map_err(invalid)?;
        let mut crl = Self { number: 0, base: None, this_update, next_update, entries };
        crl.read_extensions(&extensions.map(|e| e.value).unwrap_or_default())?;
        Ok(crl)
    }

    fn read_extensions(&mut self, list: &[Extension]) -> Result<(), StatusError> {
        use const_oid::AssociatedOid;
        let number = |value: &OctetString| -> Result<u64, StatusError> { u64::from_der(value.as_bytes()).map_err(invalid) };
        for extension in list {
            match extension.extn_id {
                CrlNumber::OID => self.number = number(&extension.extn_value)?,
                BaseCrlNumber::OID => self.base = Some(number(&extension.extn_value)?),
                ID_CE_ISSUING_DISTRIBUTION_POINT | AuthorityKeyIdentifier::OID => {}
                other => check(!extension.critical, "RFC 5280 §5.2", &format!("critical extension {other} is unknown"))?,
            }
        }
        Ok(())
    }

    /// cRLNumber, 0 when absent.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Number of the full list that this one is a delta to.
    pub fn base(&self) -> Option<u64> {
        self.base
    }

    /// thisUpdate and nextUpdate in Unix seconds.
    pub fn window(&self) -> (i64, i64) {
        (self.this_update, self.next_update)
    }

    /// Walks the entries, in the order of the list.
    pub fn entries(&self) -> impl Iterator<Item = Result<Listed, StatusError>> {
        let mut rest = self.entries;
        std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| {
                let mut reader = SliceReader::new(rest).map_err(invalid)?;
                let entry = reader.tlv_bytes().map_err(invalid)?;
                rest = rest.get(entry.len()..).unwrap_or_default();
                read_entry(entry)
            })
        })
    }

    /// When and why a serial number (big endian, any length) is listed, if it is.
    pub fn find(&self, serial: &[u8]) -> Result<Option<Listed>, StatusError> {
        let plain = |s: &[u8]| s.iter().skip_while(|b| **b == 0).copied().collect::<Vec<u8>>();
        let wanted = plain(serial);
        self.entries().find(|e| e.as_ref().map_or(true, |e| plain(&e.serial) == wanted)).transpose()
    }
}

/// An entry of a list as read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Serial number, big endian.
    pub serial: Vec<u8>,
    /// Unix seconds of the revocation.
    pub at: i64,
    /// Why.
    pub reason: Reason,
}

fn read_entry(der: &[u8]) -> Result<Listed, StatusError> {
    let mut reader = enter(der)?;
    let serial = der::asn1::UintRef::decode(&mut reader).map_err(invalid)?.as_bytes().to_vec();
    let at = tbs::seconds(&Time::decode(&mut reader).map_err(invalid)?);
    let extensions: Option<Vec<Extension>> = if reader.is_finished() { None } else { Some(Decode::decode(&mut reader).map_err(invalid)?) };
    reader.finish().map_err(invalid)?;
    let mut reason = Reason::Unspecified;
    for extension in extensions.unwrap_or_default() {
        if extension.extn_id == ID_CE_CRL_REASONS {
            let code = match extension.extn_value.as_bytes() {
                [0x0a, 0x01, code] => Reason::from_code(*code),
                _ => None,
            };
            reason = code.ok_or_else(|| StatusError::Der { what: "CRL", reason: "an unknown reason".into() })?;
        } else {
            check(!extension.critical, "RFC 5280 §5.3", "an entry has an unknown critical extension")?;
        }
    }
    Ok(Listed { serial, at, reason })
}

/// A reader inside the SEQUENCE that is all of `der`.
fn enter(der: &[u8]) -> Result<SliceReader<'_>, StatusError> {
    let mut reader = SliceReader::new(der).map_err(invalid)?;
    let header = Header::decode(&mut reader).map_err(invalid)?;
    check(header.tag() == Tag::Sequence && header.length() == reader.remaining_len(), "X.690", "not one SEQUENCE")?;
    Ok(reader)
}

fn check(good: bool, clause: &'static str, reason: &str) -> Result<(), StatusError> {
    if good { Ok(()) } else { Err(StatusError::Rule { clause, reason: reason.to_owned() }) }
}

//! Microchip's compressed certificates: 72 octets and a template instead of a whole certificate.
//!
//! Octets 0 to 63 are the signature r‖s, 64 to 66 the dates ([`Dates`]), 67 and 68 the signer id, 69 template id
//! (high nibble) and chain id, 70 serial number source (high nibble) and format version, 71 the dates' extension.
//! A verifier fills the template with public key, signature, dates, serial number and whatever else the element
//! stores. [`Template::compress`] rebuilds each certificate at once and compares it octet for octet: what it
//! returns is known to come back.

mod dates;
mod file;
mod layout;

pub use dates::Dates;
pub use file::MAX_TEMPLATE_BYTES;
pub use layout::Layout;

use crate::types::Validity;
use der::{DateTime, Decode, Encode};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::ops::Range;

/// Octets of a compressed certificate.
pub const COMPRESSED_SIZE: usize = 72;

/// Why a certificate cannot be compressed or rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompressError {
    /// A part is missing or of a kind that the format does not know.
    #[error("cannot be compressed: {0}")]
    Structure(&'static str),
    /// The dates cannot be expressed.
    #[error("dates cannot be compressed: {0}")]
    Date(String),
    /// The certificate is not of this template.
    #[error("differs from the template at octet {0}, in a part that is the same in all certificates of a template; make another template")]
    OtherTemplate(usize),
    /// Template id, chain id or stored octets do not fit the template.
    #[error("does not belong to this template: {0}")]
    Mismatch(&'static str),
}

/// Where a verifier takes the certificate's serial number from (numbers as in the format).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SerialSource {
    /// 0x0: stored on the chip, or fixed in the template.
    Stored,
    /// 0xA: first octets of SHA-256(public key ‖ dates), top bits 01.
    PublicKeyHash,
}

impl SerialSource {
    fn nibble(self) -> u8 {
        match self {
            Self::Stored => 0x0,
            Self::PublicKeyHash => 0xA,
        }
    }
}

/// What varies between the certificates of a template, beside key, signature and dates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Varies {
    /// Nothing: one issuer certificate, the same on every chip.
    Nothing,
    /// The device's identity: serial number, subject values and alternative names, stored on the chip.
    Identity,
}

/// A certificate as an element stores it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compressed {
    /// For the certificate slot.
    pub octets: [u8; COMPRESSED_SIZE],
    /// For the data slot, in the order of [`Template::stored`].
    pub stored: Vec<u8>,
}

/// What the certificates of one kind of device have in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    der: Vec<u8>,
    layout: Layout,
    varies: Varies,
    serial: SerialSource,
    key_id: Option<Range<usize>>,
    template_id: u8,
    chain_id: u8,
}

impl Template {
    /// Makes a template from a certificate; ids are 4 bits each.
    pub fn from_certificate(der: &[u8], varies: Varies, template_id: u8, chain_id: u8) -> Result<Self, CompressError> {
        if template_id > 15 || chain_id > 15 {
            return Err(CompressError::Mismatch("template and chain ids are 0 to 15"));
        }
        let layout = Layout::of(der)?;
        let dates = Dates::from_validity(&read_validity(der, &layout)?)?;
        let serial = slice(der, &layout.serial);
        let derived = serial_from_key(slice(der, &layout.public_key), &dates, serial.len());
        let source = if derived == serial { SerialSource::PublicKeyHash } else { SerialSource::Stored };
        let identifier = key_identifier(slice(der, &layout.public_key));
        let key_id = layout.subject_key_id.clone().filter(|range| slice(der, range) == identifier);
        let template = Self { der: der.to_vec(), layout, varies, serial: source, key_id, template_id, chain_id };
        template.compress(der, [0, 0]).map(|_| template)
    }

    /// The certificate that the template was made from: every octet outside the varying ranges is fixed.
    pub fn certificate(&self) -> &[u8] {
        &self.der
    }

    /// Where its parts lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whole years from notBefore to notAfter of the template's certificate; 0 for no expiration.
    pub fn years(&self) -> Result<u8, CompressError> {
        Dates::from_validity(&read_validity(&self.der, &self.layout)?).map(|dates| dates.years())
    }

    /// Where verifiers take the serial number from.
    pub fn serial_source(&self) -> SerialSource {
        self.serial
    }

    /// Template and chain id.
    pub fn ids(&self) -> (u8, u8) {
        (self.template_id, self.chain_id)
    }

    /// The subjectKeyIdentifier, when it is SHA-1 of the key (RFC 5280 §4.2.1.2 method 1) and so needs no storage.
    pub fn derived_key_id(&self) -> Option<&Range<usize>> {
        self.key_id.as_ref()
    }

    /// Ranges of the certificate that the chip stores, in order: serial number and subjectKeyIdentifier (unless
    /// derived from the key), subject values, alternative names.
    pub fn stored(&self) -> Vec<Range<usize>> {
        if self.varies == Varies::Nothing {
            return Vec::new();
        }
        let serial = Some(self.layout.serial.clone()).filter(|_| self.serial == SerialSource::Stored);
        let key_id = self.layout.subject_key_id.clone().filter(|_| self.key_id.is_none());
        let identity = self.layout.subject_values.iter().cloned().chain(self.layout.alternative_names.clone());
        serial.into_iter().chain(key_id).chain(identity).collect()
    }

    /// Octets that [`Self::stored`] takes on the chip.
    pub fn stored_size(&self) -> usize {
        self.stored().iter().map(ExactSizeIterator::len).sum()
    }

    /// Compresses a certificate of this template and proves that it comes back octet for octet.
    pub fn compress(&self, der: &[u8], signer_id: [u8; 2]) -> Result<Compressed, CompressError> {
        let layout = Layout::of(der)?;
        let dates = Dates::from_validity(&read_validity(der, &layout)?)?;
        let signature = raw_signature(slice(der, &layout.signature))?;
        let ids = self.template_id << 4 | self.chain_id;
        let kind = self.serial.nibble() << 4 | dates.format();
        let tail = [signer_id.as_slice(), &[ids, kind, dates.extension()]].concat();
        let octets = [signature.as_slice(), &dates.packed(), &tail].concat();
        let octets = octets.try_into().map_err(|_| CompressError::Structure("wrong size"))?;
        let stored = self.stored().iter().flat_map(|range| slice(der, range).to_vec()).collect();
        let compressed = Compressed { octets, stored };
        let key = slice(der, &layout.public_key).try_into().map_err(|_| CompressError::Structure("wrong key size"))?;
        let rebuilt = self.rebuild(&compressed, &key)?;
        match rebuilt.iter().zip(der).position(|(a, b)| a != b) {
            None if rebuilt.len() == der.len() => Ok(compressed),
            None => Err(CompressError::OtherTemplate(rebuilt.len().min(der.len()))),
            Some(at) => Err(CompressError::OtherTemplate(at)),
        }
    }

    /// Rebuilds the certificate from what the chip stores and its public key x‖y.
    pub fn rebuild(&self, compressed: &Compressed, public_key: &[u8; 64]) -> Result<Vec<u8>, CompressError> {
        let [.., d0, d1, d2, _, _, ids, kind, extension] = compressed.octets;
        if ids != self.template_id << 4 | self.chain_id {
            return Err(CompressError::Mismatch("template or chain id differs"));
        }
        if kind >> 4 != self.serial.nibble() {
            return Err(CompressError::Mismatch("the serial number source differs"));
        }
        let dates = Dates::decode([d0, d1, d2], kind & 0x0f, extension)?;
        let layout = &self.layout;
        let mut tbs = self.der.clone();
        put(&mut tbs, &layout.public_key, public_key)?;
        let validity = dates.validity()?;
        put(&mut tbs, &layout.not_before, &time_text(validity.not_before(), layout.not_before.len())?)?;
        put(&mut tbs, &layout.not_after, &time_text(validity.not_after(), layout.not_after.len())?)?;
        if let Some(range) = &self.key_id {
            put(&mut tbs, range, &key_identifier(public_key))?;
        }
        if self.serial == SerialSource::PublicKeyHash {
            let serial = serial_from_key(public_key, &dates, layout.serial.len());
            put(&mut tbs, &layout.serial, &serial)?;
        }
        let mut stored = compressed.stored.as_slice();
        for range in self.stored() {
            let (value, rest) = stored.split_at_checked(range.len()).ok_or(CompressError::Mismatch("stored octets are missing"))?;
            put(&mut tbs, &range, value)?;
            stored = rest;
        }
        if !stored.is_empty() {
            return Err(CompressError::Mismatch("more octets are stored than the template has"));
        }
        let signature = der_signature(compressed.octets.first_chunk::<64>().ok_or(CompressError::Structure("wrong size"))?)?;
        finish(&tbs, layout, &signature)
    }
}

/// Serial number of source 0xA: SHA-256 over public key, octets 64 to 66 and, in format 1, octet 71; the first
/// `length` octets with the top bit cleared and the next one set. An issuer that uses it needs no stored serial.
pub fn serial_from_key(public_key: &[u8], dates: &Dates, length: usize) -> Vec<u8> {
    let mut hash = Sha256::new().chain_update(public_key).chain_update(dates.packed());
    if dates.format() > 0 {
        hash.update([dates.extension()]);
    }
    let mut serial: Vec<u8> = hash.finalize().iter().copied().take(length).collect();
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    serial
}

fn key_identifier(public_key: &[u8]) -> [u8; 20] {
    Sha1::new().chain_update([4]).chain_update(public_key).finalize().into()
}

fn slice<'a>(der: &'a [u8], range: &Range<usize>) -> &'a [u8] {
    der.get(range.clone()).unwrap_or_default()
}

fn put(der: &mut [u8], range: &Range<usize>, value: &[u8]) -> Result<(), CompressError> {
    let place = der.get_mut(range.clone()).filter(|p| p.len() == value.len());
    place.ok_or(CompressError::Mismatch("a varying part has another length")).map(|p| p.copy_from_slice(value))
}

/// TBS and algorithm as they are, then the signature, then the outer header over the new length.
fn finish(filled: &[u8], layout: &Layout, signature: &[u8]) -> Result<Vec<u8>, CompressError> {
    let body = [slice(filled, &(layout.tbs.start..layout.signature.start)), signature].concat();
    der::asn1::AnyRef::new(der::Tag::Sequence, &body)
        .and_then(|certificate| certificate.to_der())
        .map_err(|_| CompressError::Structure("the certificate is too long"))
}

fn raw_signature(bit_string: &[u8]) -> Result<[u8; 64], CompressError> {
    const BAD: CompressError =
        CompressError::Structure("the signature is not ECDSA on P-256; the issuer of element certificates needs such a key");
    let bits = der::asn1::BitStringRef::from_der(bit_string).map_err(|_| BAD)?;
    let signature = bits.as_bytes().and_then(|b| p256::ecdsa::Signature::from_der(b).ok()).ok_or(BAD)?;
    signature.to_bytes().as_slice().try_into().map_err(|_| BAD)
}

fn der_signature(raw: &[u8; 64]) -> Result<Vec<u8>, CompressError> {
    let signature = p256::ecdsa::Signature::from_slice(raw).map_err(|_| CompressError::Structure("r or s is out of range"))?;
    der::asn1::BitStringRef::from_bytes(signature.to_der().as_bytes())
        .and_then(|bits| bits.to_der())
        .map_err(|_| CompressError::Structure("the signature cannot be encoded"))
}

/// UTCTime (13 octets) or GeneralizedTime (15 octets) of RFC 5280.
fn time_text(unix: i64, length: usize) -> Result<Vec<u8>, CompressError> {
    let seconds = u64::try_from(unix).unwrap_or(0);
    let date = DateTime::from_unix_duration(std::time::Duration::from_secs(seconds)).map_err(|e| CompressError::Date(e.to_string()))?;
    let (year, rest) = (date.year(), (date.month(), date.day(), date.hour(), date.minutes(), date.seconds()));
    let (month, day, hour, minute, second) = rest;
    let tail = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    match (length, year) {
        (13, 1950..=2049) => Ok(format!("{:02}{tail}", year % 100).into_bytes()),
        (15, _) => Ok(format!("{year:04}{tail}").into_bytes()),
        _ => Err(CompressError::Mismatch("the template has a date of the other form (UTCTime through 2049, then GeneralizedTime)")),
    }
}

fn read_validity(der: &[u8], layout: &Layout) -> Result<Validity, CompressError> {
    let time = |range: &Range<usize>| -> Result<i64, CompressError> {
        let bad = || CompressError::Date("malformed time".into());
        let text = std::str::from_utf8(slice(der, range)).map_err(|_| bad())?;
        let full = match text.len() {
            13 => format!("{}{text}", if text.starts_with(['5', '6', '7', '8', '9']) { "19" } else { "20" }),
            _ => text.to_owned(),
        };
        let number = |range: Range<usize>| full.get(range).and_then(|t| t.parse::<u16>().ok()).ok_or_else(bad);
        let small = |range: Range<usize>| number(range).and_then(|n| u8::try_from(n).map_err(|_| bad()));
        if full.len() != 15 || !full.ends_with('Z') {
            return Err(bad());
        }
        let date = DateTime::new(number(0..4)?, small(4..6)?, small(6..8)?, small(8..10)?, small(10..12)?, small(12..14)?);
        date.map(|d| i64::try_from(d.unix_duration().as_secs()).unwrap_or(i64::MAX)).map_err(|_| bad())
    };
    Validity::new(time(&layout.not_before)?, time(&layout.not_after)?).map_err(|e| CompressError::Date(e.to_string()))
}

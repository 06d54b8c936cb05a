//! Where the parts of a DER certificate lie, as octet ranges.

use super::CompressError;
use std::ops::Range;

/// Ranges of the parts that vary between the certificates of one template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// TBSCertificate with its header.
    pub tbs: Range<usize>,
    /// Content of serialNumber.
    pub serial: Range<usize>,
    /// Content of notBefore.
    pub not_before: Range<usize>,
    /// Content of notAfter.
    pub not_after: Range<usize>,
    /// Contents of the subject's attribute values, in order.
    pub subject_values: Vec<Range<usize>>,
    /// x‖y of an uncompressed P-256 point.
    pub public_key: Range<usize>,
    /// The identifier inside subjectKeyIdentifier.
    pub subject_key_id: Option<Range<usize>>,
    /// The identifier inside authorityKeyIdentifier, when it is all the extension holds.
    pub authority_key_id: Option<Range<usize>>,
    /// The value of subjectAltName.
    pub alternative_names: Option<Range<usize>>,
    /// The outer signature BIT STRING with its header, to the end of the certificate.
    pub signature: Range<usize>,
}

struct Element {
    tag: u8,
    whole: Range<usize>,
    content: Range<usize>,
}

/// Walks definite-length elements with short tags inside a range.
struct Walk<'a> {
    bytes: &'a [u8],
    rest: Range<usize>,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 0x0e];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 0x23];

impl<'a> Walk<'a> {
    fn over(bytes: &'a [u8], rest: Range<usize>) -> Self {
        Self { bytes, rest }
    }

    fn octet(&mut self) -> Option<u8> {
        let at = self.rest.next()?;
        self.bytes.get(at).copied()
    }

    fn next_element(&mut self) -> Option<Element> {
        let start = self.rest.start;
        let tag = self.octet()?;
        let length = match self.octet()? {
            short @ 0..=0x7f => usize::from(short),
            0x81 => usize::from(self.octet()?),
            0x82 => usize::from(self.octet()?) << 8 | usize::from(self.octet()?),
            _ => return None,
        };
        let content = self.rest.start..self.rest.start.checked_add(length).filter(|end| *end <= self.rest.end)?;
        self.rest.start = content.end;
        Some(Element { tag, whole: start..content.end, content })
    }

    fn expect(&mut self, tag: u8, what: &'static str) -> Result<Element, CompressError> {
        self.next_element().filter(|e| e.tag == tag).ok_or(CompressError::Structure(what))
    }

    fn inside(&self, element: &Element) -> Walk<'a> {
        Walk::over(self.bytes, element.content.clone())
    }

    fn ended(&self) -> bool {
        self.rest.is_empty()
    }
}

impl Layout {
    /// Finds the parts of a version 3 certificate with an uncompressed P-256 key.
    pub fn of(der: &[u8]) -> Result<Self, CompressError> {
        let mut outer = Walk::over(der, 0..der.len());
        let certificate = outer.expect(SEQUENCE, "not a certificate")?;
        let mut parts = outer.inside(&certificate);
        let tbs = parts.expect(SEQUENCE, "no TBSCertificate")?;
        parts.expect(SEQUENCE, "no signature algorithm")?;
        let signature = parts.expect(BIT_STRING, "no signature")?;
        if !outer.ended() || !parts.ended() {
            return Err(CompressError::Structure("octets follow the certificate"));
        }
        let mut fields = parts.inside(&tbs);
        fields.expect(0xa0, "not a version 3 certificate")?;
        let serial = fields.expect(INTEGER, "no serial number")?.content;
        fields.expect(SEQUENCE, "no inner signature algorithm")?;
        fields.expect(SEQUENCE, "no issuer")?;
        let validity = fields.expect(SEQUENCE, "no validity")?;
        let mut times = fields.inside(&validity);
        let mut time = || times.next_element().filter(|e| matches!(e.tag, 0x17 | 0x18)).ok_or(CompressError::Structure("bad validity"));
        let (not_before, not_after) = (time()?.content, time()?.content);
        let subject = fields.expect(SEQUENCE, "no subject")?;
        let subject_values = attribute_values(&mut fields.inside(&subject))?;
        let spki = fields.expect(SEQUENCE, "no public key")?;
        let public_key = point(&mut fields.inside(&spki), der)?;
        let mut layout = Self {
            tbs: tbs.whole,
            serial,
            not_before,
            not_after,
            subject_values,
            public_key,
            subject_key_id: None,
            authority_key_id: None,
            alternative_names: None,
            signature: signature.whole,
        };
        if !fields.ended() {
            let wrapper = fields.expect(0xa3, "unique identifiers are not supported")?;
            let mut inner = fields.inside(&wrapper);
            let list = inner.expect(SEQUENCE, "no extensions")?;
            layout.extensions(&mut inner.inside(&list))?;
        }
        Ok(layout)
    }

    fn extensions(&mut self, list: &mut Walk<'_>) -> Result<(), CompressError> {
        const BAD: &str = "malformed extension";
        while !list.ended() {
            let extension = list.expect(SEQUENCE, BAD)?;
            let mut fields = list.inside(&extension);
            let oid = fields.expect(0x06, BAD)?;
            let mut value = fields.next_element().ok_or(CompressError::Structure(BAD))?;
            if value.tag == BOOLEAN {
                value = fields.next_element().ok_or(CompressError::Structure(BAD))?;
            }
            if value.tag != OCTET_STRING {
                return Err(CompressError::Structure(BAD));
            }
            let mut inner = fields.inside(&value);
            match list.bytes.get(oid.content).unwrap_or_default() {
                SUBJECT_KEY_ID => self.subject_key_id = Some(inner.expect(OCTET_STRING, BAD)?.content),
                SUBJECT_ALT_NAME => self.alternative_names = Some(value.content),
                AUTHORITY_KEY_ID => {
                    let body = inner.expect(SEQUENCE, BAD)?;
                    let mut body = inner.inside(&body);
                    self.authority_key_id = body.next_element().filter(|e| e.tag == 0x80 && body.ended()).map(|e| e.content);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn attribute_values(names: &mut Walk<'_>) -> Result<Vec<Range<usize>>, CompressError> {
    const BAD: &str = "malformed subject";
    let mut values = Vec::new();
    while !names.ended() {
        let set = names.expect(SET, BAD)?;
        let mut attributes = names.inside(&set);
        while !attributes.ended() {
            let attribute = attributes.expect(SEQUENCE, BAD)?;
            let mut pair = attributes.inside(&attribute);
            pair.expect(0x06, BAD)?;
            values.push(pair.next_element().ok_or(CompressError::Structure(BAD))?.content);
        }
    }
    Ok(values)
}

fn point(spki: &mut Walk<'_>, der: &[u8]) -> Result<Range<usize>, CompressError> {
    const BAD: &str = "the public key is not an uncompressed P-256 point; elements hold no other";
    spki.expect(SEQUENCE, BAD)?;
    let bits = spki.expect(BIT_STRING, BAD)?.content;
    // No unused bits, uncompressed point.
    match der.get(bits.clone()) {
        Some([0x00, 0x04, key @ ..]) if key.len() == 64 => Ok(bits.start + 2..bits.end),
        _ => Err(CompressError::Structure(BAD)),
    }
}

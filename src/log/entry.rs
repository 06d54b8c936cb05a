//! Log entries: what one leaf says, in a canonical binary form.
//!
//! ```text
//! uint8   version = 1
//! uint8   kind
//! uint64  time            milliseconds since 1970
//! opaque  metadata[32]    SHA-256 commitment to private metadata
//! opaque  policy<0..32>   SHA-256 of the policy in force, or empty
//! opaque  body<0..2^16-1> certificate DER, serial and reason, CRL facts, or text, by kind
//! ```
//! The part before `body` is the [`Header`]; a device holder gets it beside the certificate
//! and can rebuild the leaf without seeing factory data.

use super::LogError;
use super::tile::MAX_ENTRY;
use crate::types::{Fingerprint, Serial};
use sha2::{Digest, Sha256};

/// Format version of every leaf.
const VERSION: u8 = 1;
/// Latest time in an entry: 9999-12-31T23:59:59.999Z.
const MAX_TIME: u64 = 253_402_300_799_999;
/// Longest text of an event, in bytes.
pub const MAX_TEXT: usize = 1024;

/// SHA-256 commitment to metadata that stays with the factory: the log shows that it existed
/// and has not changed, the random salt keeps it from being guessed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commitment([u8; 32]);

impl Commitment {
    /// SHA-256("sealwright metadata v1" LF ‖ salt ‖ metadata).
    pub fn new(salt: &[u8; 32], metadata: &[u8]) -> Self {
        Self(Sha256::new().chain_update(b"sealwright metadata v1\n").chain_update(salt).chain_update(metadata).finalize().into())
    }

    /// The 32 octets.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// CRL facts that an auditor follows: numbers and times must only rise (I5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CrlFacts {
    /// Key that signed the CRL.
    pub issuer: Fingerprint,
    /// cRLNumber (RFC 5280 §5.2.3).
    pub number: u64,
    /// thisUpdate in Unix seconds.
    pub this_update: u64,
    /// nextUpdate in Unix seconds.
    pub next_update: u64,
    /// Number of revoked certificates listed.
    pub entries: u64,
    /// SHA-256 of the TBSCertList, so known before it is signed.
    pub digest: [u8; 32],
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A certificate was signed; its DER.
    Issued(Vec<u8>),
    /// A request was refused; the rule that was broken.
    Refused(String),
    /// A certificate was revoked, held or released.
    Revoked {
        /// Key that signed the certificate.
        issuer: Fingerprint,
        /// Its serial number.
        serial: Serial,
        /// CRLReason (RFC 5280 §5.3.1); 8 (removeFromCRL) releases a hold.
        reason: u8,
    },
    /// A CRL was signed.
    CrlSigned(CrlFacts),
    /// A policy came into force; its hash is the header's policy.
    PolicyActivated(String),
    /// A key's attributes were read back and compared.
    KeyChecked(String),
    /// A certificate from a ceremony was imported; its DER.
    CeremonyImported(Vec<u8>),
    /// The service started.
    Started(String),
    /// The service stopped.
    Stopped(String),
    /// The clock moved other than forward at its pace.
    ClockStepped(String),
    /// A person acted through the admin socket.
    OperatorActed(String),
    /// An unfinished action was found after a crash, and what became of it.
    Recovered(String),
}

impl Event {
    fn kind(&self) -> u8 {
        match self {
            Self::Issued(_) => 1,
            Self::Refused(_) => 2,
            Self::Revoked { .. } => 3,
            Self::CrlSigned(_) => 4,
            Self::PolicyActivated(_) => 5,
            Self::KeyChecked(_) => 6,
            Self::CeremonyImported(_) => 7,
            Self::Started(_) => 8,
            Self::Stopped(_) => 9,
            Self::ClockStepped(_) => 10,
            Self::OperatorActed(_) => 11,
            Self::Recovered(_) => 12,
        }
    }

    /// Name as commands print it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Issued(_) => "issue",
            Self::Refused(_) => "refuse",
            Self::Revoked { .. } => "revoke",
            Self::CrlSigned(_) => "crl",
            Self::PolicyActivated(_) => "policy-activation",
            Self::KeyChecked(_) => "key-check",
            Self::CeremonyImported(_) => "ceremony-import",
            Self::Started(_) => "start",
            Self::Stopped(_) => "stop",
            Self::ClockStepped(_) => "clock-step",
            Self::OperatorActed(_) => "operator-action",
            Self::Recovered(_) => "recovery",
        }
    }

    /// DER of the certificate that the event carries, if any.
    pub fn certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Issued(der) | Self::CeremonyImported(der) => Some(der),
            _ => None,
        }
    }

    /// Text of the event, if it has any.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Refused(t) | Self::PolicyActivated(t) | Self::KeyChecked(t) | Self::Started(t) | Self::Stopped(t) => Some(t),
            Self::ClockStepped(t) | Self::OperatorActed(t) | Self::Recovered(t) => Some(t),
            _ => None,
        }
    }

    fn body(&self) -> Vec<u8> {
        match self {
            Self::Issued(der) | Self::CeremonyImported(der) => der.clone(),
            Self::Revoked { issuer, serial, reason } => [&issuer.as_bytes()[..], serial.as_bytes(), &[*reason]].concat(),
            Self::CrlSigned(c) => {
                let numbers = [c.number, c.this_update, c.next_update, c.entries].map(u64::to_be_bytes).concat();
                [&c.issuer.as_bytes()[..], &numbers, &c.digest].concat()
            }
            _ => self.text().unwrap_or_default().as_bytes().to_vec(),
        }
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, LogError> {
        let text = || String::from_utf8(body.to_vec()).map_err(|_| LogError::malformed("entry", "its text is not UTF-8"));
        Ok(match kind {
            1 => Self::Issued(body.to_vec()),
            2 => Self::Refused(text()?),
            3 => decode_revocation(body).ok_or_else(|| LogError::malformed("entry", "its revocation is not issuer, serial and reason"))?,
            4 => decode_crl(body).ok_or_else(|| LogError::malformed("entry", "its CRL facts have another length"))?,
            5 => Self::PolicyActivated(text()?),
            6 => Self::KeyChecked(text()?),
            7 => Self::CeremonyImported(body.to_vec()),
            8 => Self::Started(text()?),
            9 => Self::Stopped(text()?),
            10 => Self::ClockStepped(text()?),
            11 => Self::OperatorActed(text()?),
            12 => Self::Recovered(text()?),
            other => return Err(LogError::malformed("entry", format!("kind {other} is unknown"))),
        })
    }
}

fn decode_revocation(body: &[u8]) -> Option<Event> {
    let (issuer, rest) = body.split_first_chunk::<32>()?;
    let (serial, rest) = rest.split_first_chunk::<20>()?;
    let [reason] = rest else { return None };
    let serial = Serial::parse(&hex::encode(serial)).ok()?;
    Some(Event::Revoked { issuer: Fingerprint::parse(&hex::encode(issuer)).ok()?, serial, reason: *reason })
}

fn decode_crl(body: &[u8]) -> Option<Event> {
    let (issuer, rest) = body.split_first_chunk::<32>()?;
    let (numbers, digest) = rest.split_first_chunk::<32>()?;
    let ([number, this_update, next_update, entries], []) = numbers.as_chunks::<8>() else { return None };
    let [number, this_update, next_update, entries] = [number, this_update, next_update, entries].map(|b| u64::from_be_bytes(*b));
    let issuer = Fingerprint::parse(&hex::encode(issuer)).ok()?;
    Some(Event::CrlSigned(CrlFacts { issuer, number, this_update, next_update, entries, digest: digest.try_into().ok()? }))
}

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    time_ms: u64,
    metadata: Commitment,
    policy: Option<[u8; 32]>,
    event: Event,
}

impl Entry {
    /// An entry. Time in milliseconds since 1970, up to the year 9999; `policy` is the SHA-256
    /// of the policy in force. Refuses what would not fit or not read back.
    pub fn new(time_ms: u64, metadata: Commitment, policy: Option<[u8; 32]>, event: Event) -> Result<Self, LogError> {
        let bad = |reason: String| Err(LogError::malformed("entry", reason));
        if time_ms > MAX_TIME {
            return bad("its time lies beyond the year 9999".into());
        }
        if let Some(text) = event.text().filter(|t| t.len() > MAX_TEXT || t.chars().any(char::is_control)) {
            return bad(format!("its text of {} bytes is longer than {MAX_TEXT} or holds control characters", text.len()));
        }
        if let Event::Revoked { reason, .. } = event
            && (reason > 10 || reason == 7)
        {
            return bad(format!("{reason} is not a CRLReason"));
        }
        let entry = Self { time_ms, metadata, policy, event };
        let length = entry.encode().len();
        if length > MAX_ENTRY || entry.event.certificate().is_some_and(|der| der.is_empty() || der.len() > usize::from(u16::MAX)) {
            return bad(format!("it has {length} bytes; 1 to {MAX_ENTRY} are possible"));
        }
        Ok(entry)
    }

    /// An entry for a certificate just signed.
    pub fn issued(time_ms: u64, metadata: Commitment, policy: [u8; 32], certificate: Vec<u8>) -> Result<Self, LogError> {
        Self::new(time_ms, metadata, Some(policy), Event::Issued(certificate))
    }

    /// An entry for a refusal, naming the rule.
    pub fn refused(time_ms: u64, metadata: Commitment, policy: Option<[u8; 32]>, rule: &str) -> Result<Self, LogError> {
        Self::new(time_ms, metadata, policy, Event::Refused(rule.to_owned()))
    }

    /// An entry for a revocation; see [`Event::Revoked`].
    pub fn revoked(time_ms: u64, metadata: Commitment, issuer: Fingerprint, serial: Serial, reason: u8) -> Result<Self, LogError> {
        Self::new(time_ms, metadata, None, Event::Revoked { issuer, serial, reason })
    }

    /// Time in milliseconds since 1970.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Commitment to the private metadata.
    pub fn metadata(&self) -> &Commitment {
        &self.metadata
    }

    /// SHA-256 of the policy in force.
    pub fn policy(&self) -> Option<&[u8; 32]> {
        self.policy.as_ref()
    }

    /// What happened.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The leaf without its body: what a proof carries as extra data.
    pub fn header(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.event.kind()];
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out.extend_from_slice(&self.metadata.0);
        let policy = self.policy.as_ref().map_or(&[][..], |p| &p[..]);
        out.push(policy.len() as u8);
        out.extend_from_slice(policy);
        out
    }

    /// The leaf.
    pub fn encode(&self) -> Vec<u8> {
        join(&self.header(), &self.event.body())
    }

    /// Reads a leaf strictly: every accepted leaf encodes back to the same bytes.
    pub fn decode(leaf: &[u8]) -> Result<Self, LogError> {
        let short = || LogError::malformed("entry", "it is cut short");
        let (head, rest) = leaf.split_first_chunk::<2>().ok_or_else(short)?;
        let [version, kind] = *head;
        if version != VERSION {
            return Err(LogError::malformed("entry", format!("version {version} is unknown; this program reads version {VERSION}")));
        }
        let (time, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let (metadata, rest) = rest.split_first_chunk::<32>().ok_or_else(short)?;
        let (policy_length, rest) = rest.split_first().ok_or_else(short)?;
        let (policy, rest) = rest.split_at_checked(usize::from(*policy_length)).ok_or_else(short)?;
        let policy = match policy {
            [] => None,
            p => Some(p.try_into().map_err(|_| LogError::malformed("entry", "its policy hash is neither absent nor 32 bytes long"))?),
        };
        let (length, body) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        if body.len() != usize::from(u16::from_be_bytes(*length)) {
            return Err(LogError::malformed("entry", "its body has another length than stated"));
        }
        Self::new(u64::from_be_bytes(*time), Commitment(*metadata), policy, Event::decode(kind, body)?)
    }
}

/// Header and body, as the leaf has them. Bodies that do not fit are refused by [`Entry::new`].
fn join(header: &[u8], body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
    [header, &length, body].concat()
}

/// Rebuilds the leaf of a certificate from a proof's extra data and the certificate itself.
pub(super) fn from_header(header: &[u8], certificate: &[u8]) -> Result<Entry, LogError> {
    if certificate.len() > usize::from(u16::MAX) {
        return Err(LogError::malformed("entry", "the certificate has more than 65535 bytes"));
    }
    Entry::decode(&join(header, certificate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Event> {
        let issuer = Fingerprint::of_spki(b"key");
        let serial = Serial::parse("4102030405060708090a0b0c0d0e0f1011121314").unwrap();
        let crl = CrlFacts { issuer, number: 7, this_update: 1, next_update: 2, entries: 3, digest: [4; 32] };
        vec![
            Event::Issued(vec![0x30, 0]),
            Event::Refused("P2".into()),
            Event::Revoked { issuer, serial, reason: 1 },
            Event::CrlSigned(crl),
            Event::PolicyActivated("line-a 3".into()),
            Event::KeyChecked(String::new()),
            Event::CeremonyImported(vec![1]),
            Event::Started("0.1.0".into()),
            Event::Stopped("signal".into()),
            Event::ClockStepped("-3 s".into()),
            Event::OperatorActed("Zoë".into()),
            Event::Recovered("intent without certificate".into()),
        ]
    }

    #[test]
    fn every_kind_reads_back_and_no_cut_or_longer_leaf_does() {
        for (i, event) in samples().into_iter().enumerate() {
            for policy in [None, Some([3; 32])] {
                let entry = Entry::new(MAX_TIME, Commitment::new(&[1; 32], b"lot 7"), policy, event.clone()).unwrap();
                let leaf = entry.encode();
                assert_eq!((usize::from(leaf[1]), Entry::decode(&leaf).unwrap()), (i + 1, entry));
                for n in 0..leaf.len() {
                    assert!(Entry::decode(&leaf[..n]).is_err());
                }
                assert!(Entry::decode(&[&leaf[..], &[0]].concat()).is_err());
            }
        }
    }

    /// Pins version 1: logs outlive programs.
    #[test]
    fn the_encoding_of_version_1_never_changes() {
        let metadata = Commitment([0xAA; 32]);
        let leaf = Entry::refused(0x0102_0304, metadata, Some([0xBB; 32]), "P2").unwrap().encode();
        let want = format!("01020000000001020304{}20{}00025032", "aa".repeat(32), "bb".repeat(32));
        assert_eq!(hex::encode(leaf), want);
        let commitment = "87b89bd17abcc0b3b1219e68ad7ea8ed78937e5e6bc45fca7fd7de59bdfc8daa";
        assert_eq!(hex::encode(Commitment::new(&[1; 32], b"lot 7").0), commitment);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let metadata = Commitment([0; 32]);
        for event in [
            Event::Issued(Vec::new()),
            Event::Issued(vec![0; MAX_ENTRY - 76]),
            Event::Issued(vec![0; MAX_ENTRY + 1]),
            Event::Refused("a\nb".into()),
            Event::Refused("x".repeat(MAX_TEXT + 1)),
        ] {
            assert!(Entry::new(0, metadata, Some([0; 32]), event).is_err());
        }
        assert!(Entry::new(0, metadata, Some([0; 32]), Event::Issued(vec![0; MAX_ENTRY - 77])).is_ok());
        assert!(Entry::new(MAX_TIME + 1, metadata, None, Event::Started(String::new())).is_err());
        let issuer = Fingerprint::of_spki(b"key");
        let serial = Serial::generate().unwrap();
        assert!(Entry::revoked(0, metadata, issuer, serial, 7).is_err());
        assert!(Entry::revoked(0, metadata, issuer, serial, 11).is_err());
    }
}

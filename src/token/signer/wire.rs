//! The protocol between daemon and signer: frames of at most 64 KiB, big endian.
//!
//! Request: length u32 ‖ id u64 ‖ kind u8 ‖ fingerprint 32 ‖ message. Reply: length u32 ‖ id u64 ‖
//! status u8 ‖ signature, or the words of the refusal. The first reply has id 0 and holds the
//! token and keys as JSON. Lengths do not count themselves.

use crate::token::TokenError;
use crate::types::Fingerprint;
use crate::x509::sign::ToSign;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};

/// Longest frame body, bytes. A certificate of this system has under 4 KiB, a list may have more.
pub(super) const MAX_FRAME: usize = 64 * 1024;

/// What a message claims to be; the guard parses it as exactly that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Certificate = 1,
    Crl = 2,
    Checkpoint = 3,
    Request = 4,
    Artifact = 5,
    Ocsp = 6,
}

impl Kind {
    pub(super) fn of(what: &ToSign<'_>) -> Self {
        match what {
            ToSign::Certificate(_) => Self::Certificate,
            ToSign::Crl(_) => Self::Crl,
            ToSign::Checkpoint(_) => Self::Checkpoint,
            ToSign::Request(_) => Self::Request,
            ToSign::Artifact(_) => Self::Artifact,
            ToSign::Ocsp(_) => Self::Ocsp,
        }
    }

    fn read(byte: u8) -> Option<Self> {
        [Self::Certificate, Self::Crl, Self::Checkpoint, Self::Request, Self::Artifact, Self::Ocsp].into_iter().find(|k| *k as u8 == byte)
    }
}

/// One request as read.
pub(super) struct Request {
    pub id: u64,
    pub kind: Option<Kind>,
    pub fingerprint: Option<Fingerprint>,
    pub message: Vec<u8>,
}

pub(super) fn request(id: u64, kind: Kind, fingerprint: &Fingerprint, message: &[u8]) -> Result<Vec<u8>, TokenError> {
    let length = 8 + 1 + 32 + message.len();
    if length > MAX_FRAME {
        return Err(TokenError::GuardRefused(format!("a message of {} bytes is too long to sign", message.len())));
    }
    let mut frame = Vec::with_capacity(4 + length);
    frame.extend_from_slice(&(length as u32).to_be_bytes());
    frame.extend_from_slice(&id.to_be_bytes());
    frame.push(kind as u8);
    frame.extend_from_slice(fingerprint.as_bytes());
    frame.extend_from_slice(message);
    Ok(frame)
}

pub(super) fn parse_request(body: &[u8]) -> Option<Request> {
    let (id, rest) = body.split_first_chunk::<8>()?;
    let (kind, rest) = rest.split_first()?;
    let (fingerprint, message) = rest.split_first_chunk::<32>()?;
    let fingerprint = Fingerprint::parse(&hex::encode(fingerprint)).ok();
    Some(Request { id: u64::from_be_bytes(*id), kind: Kind::read(*kind), fingerprint, message: message.to_vec() })
}

pub(super) fn reply(id: u64, result: Result<&[u8], &TokenError>) -> Vec<u8> {
    let (status, payload) = match result {
        Ok(bytes) => (0, bytes.to_vec()),
        Err(error) => encode_error(error),
    };
    let payload = payload.get(..payload.len().min(MAX_FRAME - 9)).unwrap_or_default();
    let mut frame = Vec::with_capacity(13 + payload.len());
    frame.extend_from_slice(&((9 + payload.len()) as u32).to_be_bytes());
    frame.extend_from_slice(&id.to_be_bytes());
    frame.push(status);
    frame.extend_from_slice(payload);
    frame
}

pub(super) fn parse_reply(body: &[u8]) -> Option<(u64, Result<Vec<u8>, TokenError>)> {
    let (id, rest) = body.split_first_chunk::<8>()?;
    let (status, payload) = rest.split_first()?;
    let result = if *status == 0 { Ok(payload.to_vec()) } else { Err(decode_error(*status, payload)) };
    Some((u64::from_be_bytes(*id), result))
}

/// The kinds that a caller treats differently keep their kind; the others keep their words.
fn encode_error(error: &TokenError) -> (u8, Vec<u8>) {
    match error {
        TokenError::Unavailable(words) => (1, words.clone().into_bytes()),
        TokenError::PinRefused(words) => (2, words.clone().into_bytes()),
        TokenError::GuardRefused(words) => (3, words.clone().into_bytes()),
        TokenError::NoSuchKey(words) => (4, words.clone().into_bytes()),
        TokenError::DeviceFailed { call, code } => (5, format!("{call} {code}").into_bytes()),
        other => (6, other.to_string().into_bytes()),
    }
}

fn decode_error(status: u8, payload: &[u8]) -> TokenError {
    let words = String::from_utf8_lossy(payload).into_owned();
    match status {
        1 => TokenError::Unavailable(words),
        2 => TokenError::PinRefused(words),
        3 => TokenError::GuardRefused(words),
        4 => TokenError::NoSuchKey(words),
        5 => {
            let (call, code) = words.split_once(' ').unwrap_or(("PKCS#11", &words));
            TokenError::DeviceFailed { call: call.to_owned(), code: code.to_owned() }
        }
        _ => TokenError::Environment(words),
    }
}

/// Reads one frame body; `None` at the end of the stream, an error for anything malformed.
pub(super) fn read_frame(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0u8; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some(body))
}

/// The signer's first words: its token and keys.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Hello {
    pub version: u32,
    pub manufacturer: String,
    pub model: String,
    pub serial: String,
    pub label: String,
    pub firmware: String,
    pub soft: bool,
    /// SubjectPublicKeyInfo of each key, hexadecimal.
    pub keys: Vec<String>,
}

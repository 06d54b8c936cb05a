//! Signatures inside a WebAssembly binary: one last custom section that covers every other byte.
//!
//! ```text
//! module  = content ‖ 00 ‖ leb(size) ‖ leb(20) ‖ "sealwright.signature" ‖ payload
//! payload = 01 ‖ leb(count) ‖ count × (leb(length) ‖ envelope)
//! ```
//! Each envelope signs the digest of `content`: header, every section, to the last byte before
//! the signature section. There is exactly one such section, it is the last, and all its numbers
//! are minimal, so cutting it off gives back the very bytes that were signed. Custom sections are
//! ignored by engines, so the signed module still loads.

use super::{ArtifactError, ContentDigest, Envelope, Judge, MAX_ENVELOPE, Signed};
use std::io::{Read, Seek, SeekFrom};

/// Name of the custom section.
pub const SECTION: &str = "sealwright.signature";
/// Signatures in one module at most.
pub const MAX_SIGNATURES: usize = 16;
/// Sections of one module at most.
const MAX_SECTIONS: usize = 100_000;
const PAYLOAD_VERSION: u8 = 1;

/// Where the content of a module ends, and the envelopes that follow it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Bytes of the content: the original module.
    pub content_length: u64,
    /// The envelopes, none when the module is not signed.
    pub envelopes: Vec<Vec<u8>>,
}

fn bad(reason: impl Into<String>) -> ArtifactError {
    ArtifactError::Module(reason.into())
}

/// The signature section for `envelopes` (1 to [`MAX_SIGNATURES`]), to append to the content.
pub fn section(envelopes: &[Vec<u8>]) -> Result<Vec<u8>, ArtifactError> {
    if envelopes.is_empty() || envelopes.len() > MAX_SIGNATURES || envelopes.iter().any(|e| e.len() > MAX_ENVELOPE) {
        return Err(bad(format!("1 to {MAX_SIGNATURES} signatures of at most {MAX_ENVELOPE} bytes are possible")));
    }
    let mut body = Vec::new();
    write_leb(&mut body, SECTION.len());
    body.extend_from_slice(SECTION.as_bytes());
    body.push(PAYLOAD_VERSION);
    write_leb(&mut body, envelopes.len());
    for envelope in envelopes {
        write_leb(&mut body, envelope.len());
        body.extend_from_slice(envelope);
    }
    let mut out = vec![0];
    write_leb(&mut out, body.len());
    out.append(&mut body);
    Ok(out)
}

fn write_leb(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads the sections' headers of a module or component from the start.
pub fn layout(module: &mut (impl Read + Seek)) -> Result<Layout, ArtifactError> {
    let end = module.seek(SeekFrom::End(0))?;
    module.rewind()?;
    let mut header = [0u8; 8];
    module.read_exact(&mut header).map_err(|_| bad("shorter than its header"))?;
    if !header.starts_with(b"\0asm") {
        return Err(bad("it does not start with the magic bytes 00 61 73 6d"));
    }
    let mut position = 8;
    for _ in 0..MAX_SECTIONS {
        if position == end {
            return Ok(Layout { content_length: end, envelopes: Vec::new() });
        }
        let start = position;
        let mut id = [0u8; 1];
        module.read_exact(&mut id)?;
        let (size, width) = read_leb(module)?;
        position = start + 1 + width + size;
        if position > end {
            return Err(bad(format!("the section at {start} reaches beyond the end of the file")));
        }
        if id == [0] && is_signature(module, size)? {
            if position != end {
                return Err(bad("bytes follow the signature section; they would not be signed"));
            }
            return read_signatures(module, start, end);
        }
        module.seek(SeekFrom::Start(position))?;
    }
    Err(bad(format!("over {MAX_SECTIONS} sections")))
}

/// LEB128 of at most 32 bits (WebAssembly core §5.2.2): value and width.
fn read_leb(reader: &mut impl Read) -> Result<(u64, u64), ArtifactError> {
    let mut value = 0u64;
    for width in 0..5u64 {
        let mut byte = [0u8; 1];
        reader.read_exact(&mut byte).map_err(|_| bad("cut off inside a section header"))?;
        value |= u64::from(byte[0] & 0x7f) << (7 * width);
        if byte[0] & 0x80 == 0 {
            return if value <= u64::from(u32::MAX) { Ok((value, width + 1)) } else { Err(bad("a section size exceeds 32 bits")) };
        }
    }
    Err(bad("a section size is too long"))
}

/// Whether the custom section whose body comes next carries the signature's name.
fn is_signature(module: &mut impl Read, size: u64) -> Result<bool, ArtifactError> {
    let mut body = module.take(size);
    let (length, _) = read_leb(&mut body)?;
    if length != SECTION.len() as u64 {
        return Ok(false);
    }
    let mut name = [0u8; SECTION.len()];
    body.read_exact(&mut name).map_err(|_| bad("cut off inside the name of a section"))?;
    Ok(name == SECTION.as_bytes())
}

fn read_signatures(module: &mut (impl Read + Seek), start: u64, end: u64) -> Result<Layout, ArtifactError> {
    let limit = (MAX_SIGNATURES * (MAX_ENVELOPE + 8) + 64) as u64;
    if end - start > limit {
        return Err(bad(format!("the signature section is larger than {limit} bytes")));
    }
    module.seek(SeekFrom::Start(start + 1))?;
    let mut bytes = Vec::new();
    module.take(end - start - 1).read_to_end(&mut bytes)?;
    let mut rest = bytes.as_slice();
    read_leb(&mut rest)?;
    read_leb(&mut rest)?;
    let mut rest = rest.get(SECTION.len()..).unwrap_or_default();
    let mut version = [0u8; 1];
    rest.read_exact(&mut version).map_err(|_| bad("the signature section is empty"))?;
    if version != [PAYLOAD_VERSION] {
        return Err(bad(format!("version {} of the signature section is unknown", version[0])));
    }
    let (count, _) = read_leb(&mut rest)?;
    let mut envelopes = Vec::new();
    for _ in 0..count.min(MAX_SIGNATURES as u64 + 1) {
        let (length, _) = read_leb(&mut rest)?;
        let envelope = usize::try_from(length).ok().and_then(|n| rest.split_at_checked(n));
        let (envelope, tail) = envelope.ok_or_else(|| bad("a signature is cut off"))?;
        envelopes.push(envelope.to_vec());
        rest = tail;
    }
    // One encoding only: every number minimal, nothing after the last signature.
    if section(&envelopes)?.get(1..) != Some(bytes.as_slice()) {
        return Err(bad("the signature section is not in its one allowed encoding"));
    }
    Ok(Layout { content_length: start, envelopes })
}

/// Verifies every signature of a signed module; all must be good, because an unverified one
/// would be unsigned bytes. `progress` is told the bytes of each block.
pub fn verify(module: &mut (impl Read + Seek), judge: &Judge<'_>, mut progress: impl FnMut(u64)) -> Result<Vec<Signed>, ArtifactError> {
    let layout = layout(module)?;
    if layout.envelopes.is_empty() {
        return Err(bad(format!("it carries no section '{SECTION}': it is not signed")));
    }
    let envelopes = layout.envelopes.iter().map(|bytes| Envelope::parse(bytes)).collect::<Result<Vec<_>, _>>()?;
    let mut digests: Vec<ContentDigest> = Vec::new();
    let mut out = Vec::new();
    for envelope in envelopes {
        let algorithm = envelope.digest_algorithm();
        let digest = match digests.iter().find(|d| d.algorithm() == algorithm) {
            Some(known) => known.clone(),
            None => {
                module.rewind()?;
                let fresh = ContentDigest::read(algorithm, module.by_ref().take(layout.content_length), &mut progress)?;
                digests.push(fresh.clone());
                fresh
            }
        };
        out.push(envelope.verify(&digest, judge)?);
    }
    Ok(out)
}

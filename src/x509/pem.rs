//! PEM (RFC 7468) for certificates and requests, tolerant of text around the blocks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Label of a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// Label of a request.
pub const REQUEST: &str = "CERTIFICATE REQUEST";
/// Label of a revocation list.
pub const CRL: &str = "X509 CRL";
/// Most blocks read from one text.
pub const MAX_BLOCKS: usize = 64;

/// Writes one block, 64 characters a line.
pub fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// DER of every block with `label`, in order. Blocks with other labels and text around blocks
/// are passed over (RFC 7468 §2 allows explanatory text). `Err` says what is malformed.
pub fn decode_all(label: &str, text: &str) -> Result<Vec<Vec<u8>>, String> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(&begin) {
        let (body, tail) = after.split_once(&end).ok_or_else(|| format!("a {label} block has no END line"))?;
        let compact: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        found.push(STANDARD.decode(compact).map_err(|e| format!("bad base64 in a {label} block: {e}"))?);
        if found.len() > MAX_BLOCKS {
            return Err(format!("more than {MAX_BLOCKS} {label} blocks"));
        }
        rest = tail;
    }
    Ok(found)
}

/// Certificates in a file: PEM blocks, or one DER certificate.
pub fn certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.to_vec()]);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "neither PEM nor DER".to_owned())?;
    match decode_all(CERTIFICATE, text)? {
        none if none.is_empty() => Err("no '-----BEGIN CERTIFICATE-----' block found".to_owned()),
        some => Ok(some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_among_other_text() {
        for length in [0usize, 1, 47, 48, 49, 500] {
            let der: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let text = format!("subject=x\r\n{}tail", encode(CERTIFICATE, &der).replace('\n', "\r\n"));
            assert_eq!(decode_all(CERTIFICATE, &text).unwrap(), [der]);
        }
        assert!(decode_all(CERTIFICATE, "-----BEGIN CERTIFICATE-----\nAA==").is_err());
        assert!(certificates(b"nothing").is_err());
    }
}

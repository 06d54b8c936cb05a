//! C2SP signed notes: a text and the signature lines under it.

use super::LogError;
use super::vkey::VerifierKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Largest note in bytes: sixteen post-quantum cosignatures fit.
pub const MAX_NOTE: usize = 128 * 1024;
/// Most signature lines in a note; the specification asks for 16 at least.
pub const MAX_SIGNATURES: usize = 64;

/// One signature line: `— name base64(keyID ‖ signature)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoteSignature {
    name: String,
    key_id: [u8; 4],
    signature: Vec<u8>,
}

impl NoteSignature {
    /// A line for this key. Whether the signature is good is not looked at here.
    pub fn new(key: &VerifierKey, signature: Vec<u8>) -> Self {
        Self { name: key.name().to_owned(), key_id: key.key_id(), signature }
    }

    /// Reads one line, without its newline.
    pub fn parse(line: &str) -> Result<Self, LogError> {
        let bad = |reason: &str| LogError::malformed("note signature", reason);
        let rest = line.strip_prefix("\u{2014} ").ok_or_else(|| bad("it does not start with an em dash and a space"))?;
        let (name, encoded) = rest.split_once(' ').ok_or_else(|| bad("no space between name and signature"))?;
        check_name(name)?;
        let bytes = BASE64.decode(encoded).map_err(|e| bad(&e.to_string()))?;
        let (key_id, signature) = bytes.split_first_chunk::<4>().ok_or_else(|| bad("shorter than a key id"))?;
        if signature.is_empty() {
            return Err(bad("nothing after the key id"));
        }
        Ok(Self { name: name.to_owned(), key_id: *key_id, signature: signature.to_vec() })
    }

    /// Name of the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The signature bytes after the key id.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Whether name and id are those of `key`.
    pub fn is_by(&self, key: &VerifierKey) -> bool {
        self.name == key.name() && self.key_id == key.key_id()
    }
}

impl std::fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let blob = [&self.key_id[..], &self.signature].concat();
        write!(f, "\u{2014} {} {}", self.name, BASE64.encode(blob))
    }
}

/// A text ending in a newline and its signatures, none of them checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// A note of this text; refuses control characters and a missing final newline.
    pub fn new(text: &str, signatures: Vec<NoteSignature>) -> Result<Self, LogError> {
        let bad = |reason: &str| LogError::malformed("note", reason);
        if !text.ends_with('\n') {
            return Err(bad("the text does not end with a newline"));
        }
        if text.bytes().any(|b| b < 0x20 && b != b'\n') {
            return Err(bad("control characters other than newline are not allowed"));
        }
        if signatures.len() > MAX_SIGNATURES {
            return Err(bad("more than 64 signatures"));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// Reads a note: text, blank line, one signature line or more.
    pub fn parse(bytes: &[u8]) -> Result<Self, LogError> {
        let bad = |reason: &str| LogError::malformed("note", reason);
        if bytes.len() > MAX_NOTE {
            return Err(bad("longer than 128 KiB"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| bad("not UTF-8"))?;
        // "The text is separated from the signatures by the last empty line in the note."
        let (before, after) = note.rsplit_once("\n\n").ok_or_else(|| bad("no empty line before signatures"))?;
        let lines = after.strip_suffix('\n').ok_or_else(|| bad("no newline at the end"))?;
        let signatures = lines.split('\n').map(NoteSignature::parse).collect::<Result<Vec<_>, _>>()?;
        Self::new(&format!("{before}\n"), signatures)
    }

    /// The signed text, final newline included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All signature lines.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a signature line unless the same line is there already.
    pub fn add(&mut self, signature: NoteSignature) -> Result<(), LogError> {
        if self.signatures.contains(&signature) {
            return Ok(());
        }
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(LogError::malformed("note", "more than 64 signatures"));
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// Verifies every signature by `key`: one at least must be there, and all must be good.
    /// Returns the cosignature's time in Unix seconds for a cosignature key.
    pub fn verify(&self, key: &VerifierKey) -> Result<Option<u64>, LogError> {
        let unsigned = |reason: &str| LogError::Unsigned { name: key.name().to_owned(), reason: reason.to_owned() };
        let mut time = Err(unsigned("no signature by this key"));
        for line in self.signatures.iter().filter(|s| s.is_by(key)) {
            time = Ok(key.verify(&self.text, &line.signature).map_err(|reason| unsigned(&reason))?);
        }
        time
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|s| writeln!(f, "{s}"))
    }
}

/// Key names: not empty, no Unicode space, no plus sign.
pub(super) fn check_name(name: &str) -> Result<(), LogError> {
    if name.is_empty() || name.len() > 255 || name.chars().any(|c| c.is_whitespace() || c == '+' || c.is_control()) {
        return Err(LogError::malformed("key name", "it must have 1 to 255 bytes without spaces, plus signs and control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    #[test]
    fn the_example_of_the_specification_verifies_and_no_flipped_byte_does() {
        let key = VerifierKey::parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k").unwrap();
        let note = Note::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(note.to_string(), EXAMPLE);
        assert_eq!(note.verify(&key).unwrap(), None);
        for i in 0..EXAMPLE.len() {
            let mut bad = EXAMPLE.as_bytes().to_vec();
            bad[i] ^= 0x01;
            assert!(Note::parse(&bad).and_then(|n| n.verify(&key)).is_err(), "byte {i}");
        }
    }

    #[test]
    fn what_is_no_note_is_refused() {
        for bad in [
            "",
            "\n",
            "a\n",
            "a\n\n",
            "a\n\nb\n",
            "a\n\n\u{2014} x AAAA\n",
            "a\tb\n\n\u{2014} x AAAAAAA=\n",
            "a\n\n\u{2014} x+y AAAAAAA=\n",
        ] {
            assert!(Note::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Note::parse("a\n\nb\n\n\u{2014} x AAAAAAA=\n".as_bytes()).is_ok());
    }
}

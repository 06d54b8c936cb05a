//! C2SP checkpoints: origin, size and root of a log, signed by the log's key.

use super::LogError;
use super::merkle::{Hash, empty_root};
use super::note::{Note, NoteSignature, check_name};
use super::vkey::{NoteKeyType, VerifierKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The text of a checkpoint. Extension lines are refused: nobody audits them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
}

impl Checkpoint {
    /// A checkpoint of a log named `origin` (1 to 255 bytes, no spaces, no plus sign).
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Self, LogError> {
        check_name(origin)?;
        if size == 0 && root != empty_root() {
            return Err(LogError::malformed("checkpoint", "an empty tree has the root of the empty tree"));
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }

    /// Reads the three lines that [`Self::text`] writes.
    pub fn parse(text: &str) -> Result<Self, LogError> {
        let bad = |reason: &str| LogError::malformed("checkpoint", reason);
        let body = text.strip_suffix('\n').ok_or_else(|| bad("no newline at the end"))?;
        let lines: Vec<&str> = body.split('\n').collect();
        let [origin, size, root] = lines[..] else { return Err(bad("it must have exactly three lines: origin, size, root")) };
        Self::new(origin, parse_decimal(size).ok_or_else(|| bad("the size is not a plain decimal number"))?, parse_hash(root)?)
    }

    /// The text that the log key signs: `origin LF size LF base64(root) LF`.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }

    /// Name of the log.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Merkle tree hash of the entries.
    pub fn root(&self) -> Hash {
        self.root
    }
}

/// A checkpoint whose log signature was verified; there is no other way to make one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

impl SignedCheckpoint {
    /// Reads and verifies a signed checkpoint. The origin must be the key's name.
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, LogError> {
        Self::from_note(Note::parse(note)?, key)
    }

    /// Joins a checkpoint and the token's signature (ASN.1 DER for ECDSA), verifying it at once.
    pub fn assemble(checkpoint: &Checkpoint, key: &VerifierKey, signature: Vec<u8>) -> Result<Self, LogError> {
        Self::from_note(Note::new(&checkpoint.text(), vec![NoteSignature::new(key, signature)])?, key)
    }

    pub(super) fn from_note(note: Note, key: &VerifierKey) -> Result<Self, LogError> {
        let checkpoint = Checkpoint::parse(note.text())?;
        let unsigned = |reason: String| LogError::Unsigned { name: key.name().to_owned(), reason };
        if checkpoint.origin != key.name() {
            return Err(unsigned(format!("the checkpoint is of log '{}'", checkpoint.origin)));
        }
        if key.kind() == NoteKeyType::Cosignature {
            return Err(unsigned("this is a witness's key, not a log's".into()));
        }
        note.verify(key)?;
        Ok(Self { checkpoint, note })
    }

    /// Adds a witness's line after verifying it; returns the witness's time in Unix seconds.
    pub fn add_cosignature(&mut self, line: NoteSignature, witness: &VerifierKey) -> Result<u64, LogError> {
        let mut note = self.note.clone();
        note.add(line)?;
        let time = note.verify(witness)?;
        self.note = note;
        time.ok_or_else(|| LogError::malformed("witness key", "it is not a cosignature key (type 4)"))
    }

    /// Takes over the signature lines of another note of the same checkpoint, unverified ones too.
    pub fn join(&mut self, other: &Self) -> Result<(), LogError> {
        if other.checkpoint != self.checkpoint {
            return Err(LogError::malformed("checkpoint", "the signatures are of another one"));
        }
        other.note.signatures().iter().try_for_each(|line| self.note.add(line.clone()))
    }

    /// What is signed.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note, cosignatures included.
    pub fn note(&self) -> &Note {
        &self.note
    }
}

/// Plain decimal as C2SP formats write it: digits only, no leading zero.
pub(super) fn parse_decimal(text: &str) -> Option<u64> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    // Sizes stay within 63 bits, so that no shift or sum of sizes can overflow.
    text.parse::<u64>().ok().filter(|n| plain && *n <= i64::MAX as u64)
}

/// One base64 line that holds a hash.
pub(super) fn parse_hash(line: &str) -> Result<Hash, LogError> {
    let bytes = BASE64.decode(line).map_err(|e| LogError::malformed("hash", e.to_string()))?;
    bytes.try_into().map_err(|_| LogError::malformed("hash", "it is not 32 bytes long"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::signature::Signer;

    #[test]
    fn the_example_of_the_specification_reads_back() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let c = Checkpoint::parse(text).unwrap();
        assert_eq!((c.origin(), c.size(), c.text().as_str()), ("example.com/behind-the-sofa", 20_852_163, text));
        for bad in [
            text.replace("20852163", "020852163"),
            text.replace("20852163", "+1"),
            text.replace("20852163", "18446744073709551616"),
            text.replace("20852163", "0"),
            text.replace("2I=", "2A"),
            format!("{text}extension\n"),
            text.trim_end().to_owned(),
            text.replace("example.com", "exa mple"),
        ] {
            assert!(Checkpoint::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_ecdsa_checkpoint_verifies_with_its_own_key_alone() {
        let secret = p256::ecdsa::SigningKey::from_slice(&[0x42; 32]).unwrap();
        let spki = spki::EncodePublicKey::to_public_key_der(secret.verifying_key()).unwrap();
        let key = VerifierKey::ecdsa("factory.example/log", spki.as_bytes()).unwrap();
        let c = Checkpoint::new("factory.example/log", 3, [5; 32]).unwrap();
        let signature: p256::ecdsa::DerSignature = secret.sign(c.text().as_bytes());
        let signed = SignedCheckpoint::assemble(&c, &key, signature.as_bytes().to_vec()).unwrap();
        let bytes = signed.note().to_string().into_bytes();
        assert_eq!(SignedCheckpoint::open(&bytes, &key).unwrap(), signed);
        let other = VerifierKey::ecdsa("factory.example/other", spki.as_bytes()).unwrap();
        assert!(SignedCheckpoint::open(&bytes, &other).is_err());
        let c2 = Checkpoint::new("factory.example/log", 4, [5; 32]).unwrap();
        assert!(SignedCheckpoint::assemble(&c2, &key, signature.as_bytes().to_vec()).is_err());
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 0x04;
            assert!(SignedCheckpoint::open(&bad, &key).is_err(), "byte {i}");
        }
    }
}

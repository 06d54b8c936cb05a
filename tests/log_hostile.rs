//! Every text and binary form that the log reads from strangers, edited at random: nothing
//! panics, and whatever is accepted is the one canonical spelling of what it says.

mod logkit;

use logkit::{LogKey, entry_at, publish_log};
use proptest::prelude::*;
use sealwright::log::checkpoint::Checkpoint;
use sealwright::log::entry::{Entry, Event};
use sealwright::log::note::Note;
use sealwright::log::proof::Proof;
use sealwright::log::reader::TileReader;
use sealwright::log::trust::TrustPolicy;
use sealwright::log::vkey::VerifierKey;
use sealwright::log::witness::{AddCheckpoint, Witness};
use std::sync::LazyLock;

/// One good sample of each form.
struct Samples {
    note: Vec<u8>,
    checkpoint: Vec<u8>,
    proof: Vec<u8>,
    request: Vec<u8>,
    vkey: Vec<u8>,
    policy: Vec<u8>,
    entry: Vec<u8>,
}

static SAMPLES: LazyLock<Samples> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let key = LogKey::generate();
    let entries: Vec<_> = (0..300).map(|i| entry_at(i, Some([7; 32]), Event::Issued(vec![i as u8; 9])).encode()).collect();
    let signed = publish_log(&dir.path().join("log"), &key, &entries);
    let witness = Witness::create(&dir.path().join("w"), "witness.example/w1").unwrap();
    let reader = TileReader::new(&dir.path().join("log"));
    let policy = format!("# two\nlog {}\nwitness a {}\ngroup g any a\nquorum g\n", key.public, witness.public());
    Samples {
        note: signed.note().to_string().into_bytes(),
        checkpoint: signed.checkpoint().text().into_bytes(),
        proof: Proof::make(&reader, 17, &signed).unwrap().to_string().into_bytes(),
        request: AddCheckpoint::make(&reader, 100, &signed).unwrap().to_string().into_bytes(),
        vkey: witness.public().to_string().into_bytes(),
        policy: policy.into_bytes(),
        entry: entries[17].clone(),
    }
});

/// An edit: at a place, take away some bytes and put others.
type Edit = (prop::sample::Index, usize, Vec<u8>);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..4),
        proptest::sample::select(vec![
            b"\n".to_vec(),
            b"\n\n".to_vec(),
            b" ".to_vec(),
            b"0".to_vec(),
            b"=".to_vec(),
            b"extra \n".to_vec(),
            b"+".to_vec()
        ]),
    ];
    proptest::collection::vec((any::<prop::sample::Index>(), 0usize..40, bytes), 0..4)
}

fn edit(sample: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut out = sample.to_vec();
    for (place, gone, new) in edits {
        let at = place.index(out.len() + 1);
        out.splice(at..(at + gone).min(out.len()), new.iter().copied());
    }
    out
}

/// What was accepted, written again, if the form accepts the bytes.
fn written_again(form: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes);
    match form {
        0 => Note::parse(bytes).ok().map(|n| n.to_string().into_bytes()),
        1 => Checkpoint::parse(text.ok()?).ok().map(|c| c.text().into_bytes()),
        2 => Proof::parse(bytes).ok().map(|p| p.to_string().into_bytes()),
        3 => AddCheckpoint::parse(bytes).ok().map(|a| a.to_string().into_bytes()),
        4 => VerifierKey::parse(text.ok()?).ok().map(|k| k.to_string().into_bytes()),
        5 => TrustPolicy::parse(text.ok()?).ok().map(|_| bytes.to_vec()),
        _ => Entry::decode(bytes).ok().map(|e| e.encode()),
    }
}

fn sample(form: usize) -> &'static [u8] {
    let s = &*SAMPLES;
    [&s.note, &s.checkpoint, &s.proof, &s.request, &s.vkey, &s.policy, &s.entry][form]
}

#[test]
fn every_sample_is_accepted_as_it_is() {
    for form in 0..7 {
        assert_eq!(written_again(form, sample(form)).as_deref(), Some(sample(form)), "{form}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_is_canonical_and_nothing_panics(form in 0usize..7, edits in edits()) {
        let bytes = edit(sample(form), &edits);
        if let Some(again) = written_again(form, &bytes) {
            // A verifier key may end in a newline, as a file does.
            let end = if form == 4 { bytes.iter().rposition(|b| !b"\r\n".contains(b)).map_or(0, |n| n + 1) } else { bytes.len() };
            prop_assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&bytes[..end]));
        }
    }
}

//! Chains: the first certificate is the root, the last the device; a verdict, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealwright::x509::chain::{At, OfflineVerifier};
use sealwright::x509::pem;

fuzz_target!(|data: &[u8]| {
    let chain = pem::certificates(data).unwrap_or_default();
    let [root, between @ .., device] = chain.as_slice() else { return };
    let builder = between.iter().fold(OfflineVerifier::builder().root(root.clone()), |b, c| b.intermediate(c.clone()));
    if let Ok(verifier) = builder.build() {
        for at in [At::Unknown, At::Time(1_767_225_600)] {
            let _ = verifier.verify_chain(device, &[], at);
        }
    }
});

//! Requests: never a panic, and what is accepted reads back as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealwright::x509::csr::VerifiedCsr;

fuzz_target!(|data: &[u8]| {
    if let Ok(csr) = VerifiedCsr::from_bytes(data) {
        let again = VerifiedCsr::from_bytes(csr.der()).expect("an accepted request is accepted again");
        assert_eq!(again.spki_der(), csr.spki_der());
    }
});

//! Certificates of anyone: lint and the two texts never panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealwright::x509::lint::{Standard, lint_certificate};
use sealwright::x509::{pem, text};

fuzz_target!(|data: &[u8]| {
    let all = Standard::ALL.map(|(_, standard)| standard);
    for der in pem::certificates(data).unwrap_or_default() {
        let _ = lint_certificate(&der, None, &all);
        let _ = text::certificate(&der);
    }
});

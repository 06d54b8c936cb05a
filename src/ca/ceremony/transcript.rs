//! The transcript: HTML without scripts or outside references, made to be printed and signed.
//! It is rendered from ceremony and journal alone: same inputs, same bytes.

use super::crl::CrlWork;
use super::error::CeremonyError;
use super::file::{Ceremony, Work};
use super::journal::{ApprovalLine, KeyLine, Record};
use super::plan::moment;
use crate::types::Fingerprint;
use crate::x509::{pem, text};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};
use std::fmt::Write;

const STYLE: &str = "
@page { size: A4; margin: 18mm 16mm 20mm 16mm;
  @bottom-left { content: 'sealwright ceremony transcript'; font: 7.5pt sans-serif; color: #555; }
  @bottom-right { content: 'page ' counter(page) ' of ' counter(pages); font: 7.5pt sans-serif; color: #555; } }
body { font: 10pt/1.45 'DejaVu Sans', 'Liberation Sans', Arial, sans-serif; color: #111; max-width: 178mm; margin: 8mm auto; }
h1 { font-size: 19pt; line-height: 1.2; margin: 0 0 1mm; }
h2 { font-size: 12pt; margin: 8mm 0 2mm; padding-bottom: 1mm; border-bottom: 0.4mm solid #111; break-after: avoid; }
.sub { color: #444; margin: 0 0 5mm; }
.test { border: 0.6mm solid #b00; color: #b00; font-weight: bold; padding: 2mm 3mm; margin: 4mm 0; }
table { border-collapse: collapse; width: 100%; break-inside: avoid; }
th, td { text-align: left; vertical-align: top; padding: 1mm 3mm 1mm 0; border-bottom: 0.1mm solid #bbb; }
th { font-weight: 600; width: 42mm; color: #333; }
code, pre { font-family: 'DejaVu Sans Mono', 'Liberation Mono', monospace; }
code { font-size: 8.5pt; overflow-wrap: anywhere; }
pre { font-size: 7.4pt; line-height: 1.3; white-space: pre-wrap; overflow-wrap: anywhere; border-left: 0.6mm solid #bbb; padding-left: 3mm; margin: 2mm 0; }
ul.attributes { columns: 2; list-style: none; padding: 0; margin: 0; font-size: 8.5pt; }
.words { font-size: 7.6pt; line-height: 1.3; color: #555; }
.sign td { height: 14mm; border-bottom: 0.2mm solid #111; vertical-align: bottom; color: #444; font-size: 8.5pt; }
.sign tr > td { width: 33%; }
";

/// Renders the whole page.
pub(super) fn html(ceremony: &Ceremony, record: &Record) -> Result<String, CeremonyError> {
    let refuse = |e: text::TextError| CeremonyError::Certificate(e.to_string());
    let mut documents = Vec::new();
    if let Some(der) = record.request.as_deref() {
        documents.push(document("Request", &text::request(der).map_err(refuse)?, pem::REQUEST, der));
    }
    if let Some(der) = record.certificate.as_deref() {
        documents.push(document("Certificate", &text::certificate(der).map_err(refuse)?, pem::CERTIFICATE, der));
    }
    if let (Some(der), Work::Crl(work)) = (record.crl.as_deref(), &ceremony.work) {
        documents.push(document("Revocation list", &crl_lines(work), pem::CRL, der));
    }
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (ceremony.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (ceremony.title) }
                p.sub { "Transcript of a sealwright " (ceremony.kind.name()) " ceremony" }
                @if ceremony.test { p.test { "TEST. Nothing made here is to be trusted in production." } }
                (summary(ceremony, record))
                @if let Some(by) = record.approved.as_deref().filter(|by| !by.is_empty()) { (approvals(by)) }
                @if let Some(key) = &record.key { h2 { "New key" } (key_table(key)) }
                @if let Some(key) = &record.issuer { h2 { "Issuer's key" } (key_table(key)) }
                @if let Some(key) = &record.existing { h2 { "Key" } (key_table(key)) }
                @if record.destroyed { p { strong { "The key pair was destroyed and is no longer found in the token." } } }
                @for document in &documents { (document) }
                h2 { "Files made" }
                table {
                    @for output in ceremony.outputs.iter().chain([&ceremony.journal]) {
                        tr { th { (output.role) } td { code { (output.shown) } } }
                    }
                }
                h2 { "Signatures" }
                p { "The undersigned took part, and saw that plan hash and fingerprints above are those shown on the screen." }
                table.sign {
                    @for _ in 0..4 { tr { td { "Name" } td { "Date" } td { "Signature" } } }
                }
            }
        }
    };
    Ok(page.into_string())
}

fn summary(ceremony: &Ceremony, record: &Record) -> Markup {
    html! {
        h2 { "Ceremony" }
        table {
            tr { th { "Plan SHA-256" } td { (digest(&record.plan)) } }
            tr { th { "Ceremony file" } td { code { (ceremony.name) } br; (digest(&hex::encode(ceremony.digest))) } }
            tr { th { "Software" } td { (record.software) br; "program " (digits_only(&record.program)) } }
            tr { th { "Began" } td.time { (moment(record.started)) } }
            tr { th { "Ended" } td.time { (record.finished.map(moment).unwrap_or_default()) } }
        }
    }
}

fn approvals(by: &[ApprovalLine]) -> Markup {
    html! {
        h2 { "Approvals of the plan" }
        table {
            @for approval in by {
                tr { th { (approval.name) } td { code { (approval.key) } br; "signature file " code { (approval.file) } br; (digits_only(&approval.sha256)) } }
            }
        }
    }
}

fn key_table(key: &KeyLine) -> Markup {
    let fingerprint = hex::decode(&key.spki).map(|spki| Fingerprint::of_spki(&spki).to_string()).unwrap_or_default();
    let value = |v: &Option<bool>| v.map_or("not reported", |v| if v { "true" } else { "false" });
    html! {
        table {
            tr { th { "Label" } td { (key.label) } }
            tr { th { "Fingerprint" } td { (digest(&fingerprint)) } }
            tr { th { "CKA_ID" } td { code { (key.id) } } }
            tr { th { "Token" } td {
                "serial " code { (key.serial) } ", label " (key.token) br;
                (key.manufacturer) ", " (key.model) ", firmware " (key.firmware)
                @if key.soft { br; strong { "software token" } }
            } }
            tr { th { "Attributes as read back" } td {
                ul.attributes { @for (name, v) in &key.attributes { li { code { (name) } " " (value(v)) } } }
            } }
        }
    }
}

fn crl_lines(work: &CrlWork) -> String {
    let mut out = format!("Number {}\nThis update {}\n", work.plan.number, moment(work.plan.this_update));
    let _ = writeln!(out, "Next update {}", moment(work.plan.next_update));
    for entry in &work.plan.revoked {
        let _ = writeln!(out, "Revoked {} since {}, {:?}", entry.serial, moment(entry.at), entry.reason);
    }
    out
}

fn document(title: &str, text: &str, label: &str, der: &[u8]) -> Markup {
    let pem = pem::encode(label, der);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    html! {
        h2 { (title) }
        table { tr { th { "SHA-256 of the DER" } td { (digest(&hex::encode(Sha256::digest(der)))) } } }
        pre { (lines.join("\n")) }
        pre { (pem) }
    }
}

/// Hexadecimal digits in groups of eight and as PGP words, so that two people can read them to
/// each other: even and odd places use different words, which shows a dropped one.
fn digest(digits: &str) -> Markup {
    let words = hex::decode(digits).map(|bytes| pgp_words::to_words(&bytes).join(" ")).unwrap_or_default();
    html! { (digits_only(digits)) div.words { (words) } }
}

fn digits_only(digits: &str) -> Markup {
    let groups: Vec<String> = digits.as_bytes().chunks(8).map(|g| String::from_utf8_lossy(g).into_owned()).collect();
    html! { code { (groups.join(" ")) } }
}

//! The audit as a page: HTML without scripts or outside references, made to be printed and
//! signed. Same report, same bytes.

use super::{Finding, MAX_FINDINGS, Report, Yardstick};
use crate::x509::chain::show_time;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = "
@page { size: A4; margin: 18mm 16mm 20mm 16mm; }
body { font: 10pt/1.45 'DejaVu Sans', 'Liberation Sans', Arial, sans-serif; color: #111; max-width: 178mm; margin: 8mm auto; padding: 0 4mm; }
h1 { font-size: 19pt; line-height: 1.2; margin: 0 0 1mm; overflow-wrap: anywhere; }
h2 { font-size: 12pt; margin: 8mm 0 2mm; padding-bottom: 1mm; border-bottom: 0.4mm solid #111; break-after: avoid; }
.sub { color: #444; margin: 0 0 5mm; }
.verdict { border: 0.6mm solid; font-weight: bold; padding: 2mm 3mm; margin: 4mm 0; }
.good { color: #064; } .bad { color: #b00; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 1mm 3mm 1mm 0; border-bottom: 0.1mm solid #bbb; }
th { font-weight: 600; width: 42mm; color: #333; }
td.number { text-align: right; width: 26mm; font-variant-numeric: tabular-nums; }
code { font: 8.5pt 'DejaVu Sans Mono', 'Liberation Mono', monospace; overflow-wrap: anywhere; }
.sign td { height: 14mm; border-bottom: 0.2mm solid #111; vertical-align: bottom; color: #444; font-size: 8.5pt; width: 33%; }
";

/// Renders a report and what it was held against.
pub fn page(report: &Report, yardstick: &Yardstick) -> String {
    let title = format!("Audit of {}", report.origin);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p.sub { "Made by sealwright " (env!("CARGO_PKG_VERSION")) " from the log directory alone" }
                (verdict(report))
                h2 { "Log" }
                (log_table(report))
                h2 { "Checked" }
                (checks(report, yardstick))
                @if !report.is_clean() { h2 { "Findings" } (findings(report.findings())) }
                h2 { "Entries" }
                table { @for (kind, count) in &report.kinds { tr { th { (kind) } td.number { (count) } td {} } } }
                @if !report.policies.is_empty() {
                    h2 { "Certificates by policy" }
                    table { @for (policy, count) in &report.policies { tr { td { code { (hex::encode(policy)) } } td.number { (count) } } } }
                }
                h2 { "Signature" }
                table.sign { tr { td { "Auditor" } td { "Date" } td { "Signature" } } }
            }
        }
    };
    page.into_string()
}

fn verdict(report: &Report) -> Markup {
    html! {
        @match (report.is_clean(), report.first_index()) {
            (true, _) => p.verdict.good { "Good. Nothing to report." },
            (false, Some(index)) => p.verdict.bad { "Bad. The first discrepancy is at entry " (index) "." },
            (false, None) => p.verdict.bad { "Bad. See the findings." },
        }
    }
}

fn log_table(report: &Report) -> Markup {
    let shown = |ms: u64| show_time(i64::try_from(ms / 1000).unwrap_or(i64::MAX));
    html! {
        table {
            tr { th { "Entries" } td { (report.size) } }
            tr { th { "Root" } td { code { (hex::encode(report.root)) } } }
            @if let Some((first, last)) = report.times {
                tr { th { "First entry" } td { (shown(first)) } }
                tr { th { "Last entry" } td { (shown(last)) } }
            }
        }
    }
}

/// Says what was not checked as plainly as what was.
fn checks(report: &Report, yardstick: &Yardstick) -> Markup {
    let since = yardstick.since.as_ref().map(|s| s.checkpoint().size());
    html! {
        table {
            tr { th { "Tree" } td { "every entry hashed; every tile and the signed root compared" } }
            tr { th { "Content" } td { "serial numbers, order of time, policy in force, numbers and times of CRLs" } }
            tr { th { "Signatures" } td {
                @if yardstick.issuers.is_empty() { "not checked: no issuers were given" }
                @else { (report.signatures_verified) " certificates verified with " (yardstick.issuers.len()) " issuers" }
            } }
            tr { th { "Extends earlier log" } td {
                @if let Some(size) = since { "held against a checkpoint of " (size) " entries" }
                @else { "not checked: no earlier checkpoint was given, so a fork or rollback would not show" }
            } }
            tr { th { "Unlogged signatures" } td {
                @if let Some(digests) = &yardstick.signed_digests { (digests.len()) " signatures of the token's record held against the log" }
                @else { "not checked: no record of the token was given" }
            } }
        }
    }
}

fn findings(list: &[Finding]) -> Markup {
    html! {
        table {
            @for finding in list {
                tr {
                    th { @if let Some(index) = finding.index { "entry " (index) } @else { "log" } }
                    td { (finding.rule) ": " (finding.reason) }
                }
            }
        }
        @if list.len() >= MAX_FINDINGS { p { "Only the first " (MAX_FINDINGS) " findings are kept." } }
    }
}

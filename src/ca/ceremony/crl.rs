//! The `crl` ceremony: the root's list of revoked intermediates.

use super::certificate::seconds;
use super::fault::Checks;
use super::parts::{IssuerPart, Must, issuer_part, read_bounded};
use super::spec::{RawCeremony, RawCrl, RawRevoked};
use crate::types::Serial;
use crate::x509::pem;
use crate::x509::status::Reason;
use crate::x509::status::crl::{Head, Revoked, Scope, SignedCrl, TbsCrl};
use std::path::Path;
use toml::Spanned;

/// A root's list is renewed at least yearly, with slack for the calendar of a key ceremony.
const MAX_DAYS: i64 = 400;
const DAY: i64 = 86_400;

/// The content of a list.
#[derive(Clone, Debug)]
pub(super) struct CrlPlan {
    /// CRL number (RFC 5280 §5.2.3), rising from list to list (I5).
    pub number: u64,
    /// Unix seconds.
    pub this_update: i64,
    /// Unix seconds.
    pub next_update: i64,
    /// Entries by rising serial number.
    pub revoked: Vec<Revoked>,
}

/// A list to sign.
#[derive(Clone, Debug)]
pub(super) struct CrlWork {
    pub issuer: IssuerPart,
    pub plan: CrlPlan,
    pub previous: Option<String>,
    /// The list is complete before the ceremony: nothing in it depends on a token.
    pub linted: TbsCrl,
}

impl CrlWork {
    pub(super) fn check(raw: &RawCeremony, base: &Path, checks: &mut Checks<'_>) -> Option<Self> {
        let issuer = issuer_part(raw.issuer.as_ref()?.get_ref(), Must::SignCrl, base, checks);
        let span = raw.crl.as_ref()?.span();
        let table = raw.crl.as_ref()?.get_ref();
        let plan = plan(table, checks);
        let (issuer, plan) = (issuer?, plan?);
        let days = (plan.next_update - plan.this_update) / DAY;
        checks.refuse_if(days > MAX_DAYS, table.next_update.span(), format!("the list is valid for {days} days; at most {MAX_DAYS}"));
        let outlives = plan.next_update > issuer.issuer.validity().not_after();
        checks.refuse_if(outlives, table.next_update.span(), "the list would outlive its issuer");
        check_previous(table, &plan, &issuer, base, checks);
        let built = Head::new(plan.number, plan.this_update, plan.next_update, Scope::Full, None)
            .and_then(|head| TbsCrl::build(&issuer.issuer, &head, plan.revoked.iter().copied()));
        let linted = checks.take(span, built);
        let previous = table.previous.as_ref().map(|p| p.get_ref().clone());
        Some(Self { issuer, plan, previous, linted: linted? })
    }
}

fn plan(table: &RawCrl, checks: &mut Checks<'_>) -> Option<CrlPlan> {
    let number = u64::try_from(*table.number.get_ref()).ok().filter(|n| *n > 0).ok_or("number is 1 or more");
    let number = checks.take(table.number.span(), number);
    let this_update = checks.take(table.this_update.span(), seconds(table.this_update.get_ref()));
    let next_update = checks.take(table.next_update.span(), seconds(table.next_update.get_ref()));
    let revoked: Vec<Option<Revoked>> = table.revoked.iter().map(|r| entry(r, checks)).collect();
    let mut revoked = revoked.into_iter().collect::<Option<Vec<_>>>()?;
    revoked.sort_by_key(|r| r.serial);
    let plan = CrlPlan { number: number?, this_update: this_update?, next_update: next_update?, revoked };
    let future = plan.revoked.iter().any(|r| r.at > plan.this_update);
    checks.refuse_if(future, table.this_update.span(), "a revocation lies after thisUpdate");
    Some(plan)
}

fn entry(raw: &Spanned<RawRevoked>, checks: &mut Checks<'_>) -> Option<Revoked> {
    let raw = raw.get_ref();
    let serial = checks.take(raw.serial.span(), Serial::parse(raw.serial.get_ref()));
    let at = checks.take(raw.at.span(), seconds(raw.at.get_ref()));
    let unknown = || "reason is unspecified, key-compromise, ca-compromise, affiliation-changed, superseded, cessation-of-operation or privilege-withdrawn";
    // Holds and attribute authorities have no place on a root's list.
    let fits = |r: &Reason| !matches!(r, Reason::CertificateHold | Reason::RemoveFromCrl | Reason::AaCompromise);
    let reason = checks.take(raw.reason.span(), Reason::parse(raw.reason.get_ref()).filter(fits).ok_or_else(unknown));
    Some(Revoked { serial: serial?, at: at?, reason: reason? })
}

/// Numbers and times rise (I5), and nothing leaves the list: entries of CAs are kept for good.
fn check_previous(table: &RawCrl, plan: &CrlPlan, issuer: &IssuerPart, base: &Path, checks: &mut Checks<'_>) {
    let Some(file) = &table.previous else {
        let told = "a list with a number over 1 has a predecessor: previous = \"….crl\"";
        checks.refuse_if(plan.number != 1, table.number.span(), told);
        return;
    };
    let read = read_bounded(&base.join(file.get_ref())).and_then(|bytes| {
        let text = String::from_utf8(bytes).map_err(|_| "not PEM".to_owned())?;
        let der = pem::decode_all(pem::CRL, &text)?.pop().ok_or("no X509 CRL block found")?;
        let old = SignedCrl::open(&der, &issuer.issuer).map_err(|e| e.to_string())?;
        let serials = old.entries().map(|e| e.map(|e| e.serial)).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
        Ok((old.number(), old.window().0, serials))
    });
    let Some((number, this_update, serials)) = checks.take(file.span(), read.map_err(|e| format!("{}: {e}", file.get_ref()))) else {
        return;
    };
    checks.refuse_if(plan.number <= number, table.number.span(), format!("number must be over {number}, the previous list's"));
    checks.refuse_if(plan.this_update <= this_update, table.this_update.span(), "this_update must be later than the previous list's");
    for serial in &serials {
        let kept = plan.revoked.iter().any(|r| r.serial.as_bytes().as_slice() == serial.as_slice());
        checks.refuse_if(!kept, file.span(), format!("{} is on the previous list and must stay on this one", hex::encode(serial)));
    }
}

//! Name constraints (RFC 5280 §4.2.1.10, §6.1.3 (b)(c)).

use super::certificate::ReadCertificate;
use super::names;
use super::refusal::{Broken, Rule, require};
use const_oid::ObjectIdentifier;
use der::asn1::{Ia5StringRef, Utf8StringRef};
use x509_cert::ext::pkix::NameConstraints;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

const CLAUSE: &str = "RFC 5280 §4.2.1.10";
const EMAIL_ADDRESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");

/// Names times subtrees that are compared for one certificate at most.
const MAX_COMPARISONS: usize = 65_536;

/// Checks the constraints themselves.
pub(super) fn check(constraints: &NameConstraints) -> Result<(), Broken> {
    let lists = [&constraints.permitted_subtrees, &constraints.excluded_subtrees];
    require(lists.iter().any(|l| l.is_some()), Rule::Extension, CLAUSE, "nameConstraints is empty")?;
    for list in lists.into_iter().flatten() {
        require(!list.is_empty(), Rule::Extension, CLAUSE, "a list of name subtrees is empty")?;
        for subtree in list {
            let plain = subtree.minimum == 0 && subtree.maximum.is_none();
            require(plain, Rule::Extension, CLAUSE, "a name subtree has a minimum or maximum")?;
            require(well_formed(&subtree.base), Rule::Extension, CLAUSE, "a name subtree is malformed")?;
        }
    }
    Ok(())
}

fn well_formed(base: &GeneralName) -> bool {
    match base {
        // The leading dot belongs to URI and mail constraints; for DNS it has no meaning in the RFC.
        GeneralName::DnsName(name) => name.as_str().is_empty() || is_host(name.as_str(), false),
        GeneralName::IpAddress(bytes) => {
            let (address, mask) = bytes.as_bytes().split_at(bytes.as_bytes().len() / 2);
            matches!(address.len(), 4 | 16) && address.len() == mask.len() && contiguous(mask)
        }
        GeneralName::Rfc822Name(name) => {
            let host = name.as_str().rsplit_once('@').map_or(name.as_str(), |(_, host)| host);
            is_host(host.strip_prefix('.').unwrap_or(host), false)
        }
        GeneralName::UniformResourceIdentifier(name) => is_host(name.as_str().strip_prefix('.').unwrap_or(name.as_str()), false),
        _ => true,
    }
}

fn contiguous(mask: &[u8]) -> bool {
    let ones = mask.iter().map(|b| b.leading_ones() as usize).take_while(|n| *n == 8).count();
    let rest = mask.get(ones..).unwrap_or_default();
    rest.first().is_none_or(|b| b.leading_ones() + b.trailing_zeros().min(8) == 8) && rest.iter().skip(1).all(|b| *b == 0)
}

/// A host name in the preferred syntax (RFC 5280 §4.2.1.6: letters, digits and hyphens in labels
/// of 1 to 63, no address); a single leading `*` label when `wildcard`.
fn is_host(name: &str, wildcard: bool) -> bool {
    let body = if wildcard { name.strip_prefix("*.").unwrap_or(name) } else { name };
    let label = |l: &str| (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    body.len() <= 253 && body.split('.').all(label) && body.parse::<std::net::IpAddr>().is_err()
}

/// A mailbox without quoting: one `@`, visible characters before it, a host after it.
fn is_mailbox(text: &str) -> bool {
    text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && user.bytes().all(|b| b.is_ascii_graphic()) && is_host(host, false))
}

/// Refuses alternative names that do not have the syntax of their form.
pub(super) fn check_forms(alternative: &[GeneralName]) -> Result<(), Broken> {
    let good = |name: &GeneralName| match name {
        GeneralName::DnsName(n) => is_host(n.as_str(), true),
        GeneralName::IpAddress(b) => matches!(b.as_bytes().len(), 4 | 16),
        GeneralName::Rfc822Name(n) => is_mailbox(n.as_str()),
        GeneralName::UniformResourceIdentifier(n) => n.as_str().contains(':'),
        _ => true,
    };
    match alternative.iter().find(|n| !good(n)) {
        Some(bad) => Err(Broken::new(Rule::Name, "RFC 5280 §4.2.1.6", format!("malformed subjectAltName {}", show(bad)))),
        None => Ok(()),
    }
}

/// Checks subject and alternative names of `certificate` against one authority's constraints.
pub(super) fn apply(constraints: &NameConstraints, certificate: &ReadCertificate) -> Result<(), Broken> {
    let permitted = constraints.permitted_subtrees.as_deref().unwrap_or_default();
    let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
    let names = all_names(certificate)?;
    if names.len().saturating_mul(permitted.len() + excluded.len()) > MAX_COMPARISONS {
        return Err(Broken::new(Rule::Bounds, CLAUSE, format!("over {MAX_COMPARISONS} comparisons of names with constraints")));
    }
    for name in &names {
        let refused = |why: &str| Broken::new(Rule::Name, CLAUSE, format!("{} {why}", show(name)));
        let mut same_form = permitted.iter().filter(|s| form(&s.base) == form(name)).peekable();
        if same_form.peek().is_some() && !any_contains(same_form, name, Side::Permitted)? {
            return Err(refused("is outside the permitted names"));
        }
        let same_form = excluded.iter().filter(|s| form(&s.base) == form(name));
        if any_contains(same_form, name, Side::Excluded)? {
            return Err(refused("is among the excluded names"));
        }
    }
    Ok(())
}

/// Subject, emailAddress attributes of the subject, and alternative names.
fn all_names(certificate: &ReadCertificate) -> Result<Vec<GeneralName>, Broken> {
    let mut names = certificate.alternative_names().to_vec();
    let subject = certificate.subject();
    if !subject.is_empty() {
        names.push(GeneralName::DirectoryName(subject.clone()));
    }
    for attribute in subject.iter().filter(|a| a.oid == EMAIL_ADDRESS) {
        let text = Ia5StringRef::try_from(&attribute.value)
            .map(|s| s.as_str().to_owned())
            .or_else(|_| Utf8StringRef::try_from(&attribute.value).map(|s| s.as_str().to_owned()));
        let mail = text.ok().and_then(|t| der::asn1::Ia5String::new(&t).ok());
        names.push(GeneralName::Rfc822Name(
            mail.ok_or_else(|| Broken::new(Rule::Name, CLAUSE, "the subject's emailAddress is no mail address"))?,
        ));
    }
    Ok(names)
}

fn form(name: &GeneralName) -> std::mem::Discriminant<GeneralName> {
    std::mem::discriminant(name)
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Permitted,
    Excluded,
}

fn any_contains<'a>(subtrees: impl Iterator<Item = &'a GeneralSubtree>, name: &GeneralName, side: Side) -> Result<bool, Broken> {
    for subtree in subtrees {
        if contains(&subtree.base, name, side)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn contains(base: &GeneralName, name: &GeneralName, side: Side) -> Result<bool, Broken> {
    Ok(match (base, name) {
        (GeneralName::DnsName(base), GeneralName::DnsName(name)) => dns(base.as_str(), name.as_str(), side),
        (GeneralName::IpAddress(base), GeneralName::IpAddress(name)) => ip(base.as_bytes(), name.as_bytes()),
        (GeneralName::DirectoryName(base), GeneralName::DirectoryName(name)) => names::starts_with(name, base),
        (GeneralName::Rfc822Name(base), GeneralName::Rfc822Name(name)) => mail(base.as_str(), name.as_str()),
        (GeneralName::UniformResourceIdentifier(base), GeneralName::UniformResourceIdentifier(name)) => {
            let host = uri_host(name.as_str()).ok_or_else(|| {
                Broken::new(
                    Rule::Name,
                    CLAUSE,
                    format!("{} has no host name, so its constraint cannot be applied", show_text("URI", name.as_str())),
                )
            })?;
            host_or_subdomain(base.as_str(), host)
        }
        (GeneralName::OtherName(base), GeneralName::OtherName(name)) if base.type_id != name.type_id => false,
        // RFC 5280 §4.2.1.10: process the constraint or reject the certificate.
        (_, name) => return Err(Broken::new(Rule::Name, CLAUSE, format!("constraints on {} are not processed", show(name)))),
    })
}

fn dns(base: &str, name: &str, side: Side) -> bool {
    let (base, name) = (base.to_ascii_lowercase(), name.to_ascii_lowercase());
    let within = |name: &str, base: &str| base.is_empty() || name == base || name.strip_suffix(base).is_some_and(|p| p.ends_with('.'));
    match name.strip_prefix("*.") {
        // A wildcard is excluded when any name that it covers is.
        Some(parent) if side == Side::Excluded => within(parent, &base) || within(&base, parent),
        Some(parent) => within(parent, &base),
        None => within(&name, &base),
    }
}

fn ip(base: &[u8], address: &[u8]) -> bool {
    let (network, mask) = base.split_at(base.len() / 2);
    network.len() == address.len() && network.iter().zip(mask).zip(address).all(|((n, m), a)| n & m == a & m)
}

fn mail(base: &str, address: &str) -> bool {
    let Some((user, host)) = address.rsplit_once('@') else { return false };
    match base.rsplit_once('@') {
        Some((base_user, base_host)) => base_user == user && base_host.eq_ignore_ascii_case(host),
        None => host_or_subdomain(base, host),
    }
}

/// `example.com` is that host alone, `.example.com` any host below it.
fn host_or_subdomain(base: &str, host: &str) -> bool {
    let (base, host) = (base.to_ascii_lowercase(), host.to_ascii_lowercase());
    if base.starts_with('.') { host.len() > base.len() && host.ends_with(&base) } else { host == base }
}

fn uri_host(uri: &str) -> Option<&str> {
    let authority = uri.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, h)| h);
    let host = host.split_once(':').map_or(host, |(h, _)| h);
    // An address is no host name: the last label of a name is never numeric (RFC 5280 §4.2.1.10).
    let named = host.rsplit('.').next().is_some_and(|l| l.bytes().any(|b| b.is_ascii_alphabetic()));
    (named && is_host(host, false)).then_some(host)
}

fn show(name: &GeneralName) -> String {
    match name {
        GeneralName::DnsName(n) => show_text("DNS name", n.as_str()),
        GeneralName::Rfc822Name(n) => show_text("mail address", n.as_str()),
        GeneralName::UniformResourceIdentifier(n) => show_text("URI", n.as_str()),
        GeneralName::DirectoryName(n) => show_text("name", &Name::to_string(n)),
        GeneralName::IpAddress(b) => show_text("IP address", &hex::encode(b.as_bytes())),
        GeneralName::OtherName(o) => format!("otherName {}", o.type_id),
        GeneralName::RegisteredId(id) => format!("registered id {id}"),
        GeneralName::EdiPartyName(_) => "EDI party name".into(),
    }
}

fn show_text(kind: &str, text: &str) -> String {
    format!("{kind} '{}'", text.chars().take(120).flat_map(char::escape_default).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtrees_follow_the_rfc() {
        assert!(dns("example.com", "a.b.EXAMPLE.com", Side::Permitted) && dns("example.com", "example.com", Side::Permitted));
        assert!(!dns("example.com", "badexample.com", Side::Permitted) && !dns("a.example.com", "example.com", Side::Permitted));
        assert!(dns("a.example.com", "*.example.com", Side::Excluded) && !dns("a.example.com", "*.example.com", Side::Permitted));
        assert!(ip(&[10, 0, 0, 0, 255, 0, 0, 0], &[10, 9, 8, 7]) && !ip(&[10, 0, 0, 0, 255, 0, 0, 0], &[11, 0, 0, 0]));
        assert!(!ip(&[0; 8], &[0; 16]));
        assert!(mail("example.com", "u@example.com") && !mail("example.com", "u@a.example.com") && mail(".example.com", "u@a.example.com"));
        assert!(mail("u@example.com", "u@EXAMPLE.com") && !mail("U@example.com", "u@example.com"));
        assert_eq!(uri_host("https://user@host.example:443/x?y"), Some("host.example"));
        assert_eq!(uri_host("https://10.0.0.1/"), None);
        assert!(contiguous(&[255, 255, 240, 0]) && contiguous(&[0; 4]) && contiguous(&[255; 4]));
        assert!(!contiguous(&[255, 0, 255, 0]) && !contiguous(&[255, 0xa0, 0, 0]));
    }
}

//! Comparison of distinguished names (RFC 5280 §7.1).

use der::Tagged;
use der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{Name, RelativeDistinguishedName};

/// Whether two names are the same: same RDNs in order, each the same set of attributes;
/// PrintableString and UTF8String compare without regard to case and runs of spaces, other
/// types byte for byte. Unicode normalisation (NFKC) is not applied: a difference refuses.
pub(super) fn same(a: &Name, b: &Name) -> bool {
    a.len() == b.len() && starts_with(a, b)
}

/// Whether `name` lies in the subtree of `base`: its first RDNs are those of `base`.
pub(super) fn starts_with(name: &Name, base: &Name) -> bool {
    name.len() >= base.len() && name.iter_rdn().zip(base.iter_rdn()).all(|(a, b)| same_rdn(a, b))
}

fn same_rdn(a: &RelativeDistinguishedName, b: &RelativeDistinguishedName) -> bool {
    a == b || (a.len() == b.len() && a.iter().all(|x| b.iter().any(|y| same_attribute(x, y))))
}

fn same_attribute(a: &AttributeTypeAndValue, b: &AttributeTypeAndValue) -> bool {
    a == b || (a.oid == b.oid && matches!((folded(a), folded(b)), (Some(x), Some(y)) if x == y))
}

fn folded(attribute: &AttributeTypeAndValue) -> Option<String> {
    let text = match attribute.value.tag() {
        der::Tag::PrintableString => PrintableStringRef::try_from(&attribute.value).ok()?.as_str().to_owned(),
        der::Tag::Utf8String => Utf8StringRef::try_from(&attribute.value).ok()?.as_str().to_owned(),
        _ => return None,
    };
    Some(text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    #[test]
    fn names_fold_case_and_spaces_but_nothing_else() {
        let name = |s: &str| Name::from_str(s).unwrap();
        let base = name("O=Acme  Works,C=DE");
        assert!(same(&base, &name("O=acme works,C=de")));
        assert!(!same(&base, &name("O=acme worksx,C=DE")));
        assert!(!same(&base, &name("C=DE,O=Acme Works")));
        assert!(starts_with(&name("CN=x,O=ACME WORKS,C=DE"), &base));
        assert!(!starts_with(&base, &name("CN=x,O=Acme Works,C=DE")));
    }
}

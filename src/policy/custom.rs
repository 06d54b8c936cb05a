//! Custom extensions: an OID, a criticality and one typed value.

use super::extensions::{MAX_LIST, encoded};
use super::names::{Unfit, oid, template};
use super::problem::Findings;
use super::spec::CustomSpec;
use super::template::Template;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::asn1::{Any, Ia5StringRef, OctetString, PrintableStringRef, Utf8StringRef};
use toml::Spanned;
use x509_cert::ext::Extension;

/// A custom extension with a value from a template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Custom {
    Fixed(Extension),
    Filled(ObjectIdentifier, bool, TextKind, Template),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TextKind {
    Utf8,
    Ia5,
    Printable,
}

impl TextKind {
    pub(super) fn value(self, text: &str) -> Result<Any, Unfit> {
        match self {
            Self::Utf8 => Utf8StringRef::new(text).map(Any::from),
            Self::Ia5 => Ia5StringRef::new(text).map(Any::from),
            Self::Printable => PrintableStringRef::new(text).map(Any::from),
        }
        .map_err(|_| Unfit::Value(format!("'{text}' does not fit the string type of a custom extension")))
    }
}

/// Reads the custom extensions.
pub(super) fn check_custom(list: &[Spanned<CustomSpec>], out: &mut Findings<'_>) -> Option<Vec<Custom>> {
    let customs: Vec<Option<Custom>> = list.iter().map(|entry| custom(entry, out)).collect();
    let customs = customs.into_iter().collect::<Option<Vec<_>>>()?;
    let mut oids: Vec<ObjectIdentifier> = Vec::new();
    for (entry, custom) in list.iter().zip(&customs) {
        let (Custom::Fixed(Extension { extn_id: oid, .. }) | Custom::Filled(oid, ..)) = custom;
        // The id-ce arc and id-pe arc are what the typed keys write.
        let standard = oid.parent().is_some_and(|p| [rfc5280::ID_CE, rfc5280::ID_PE].contains(&p));
        if standard || oids.contains(oid) {
            out.add(
                entry.get_ref().oid.span(),
                format!("extension {oid} is written elsewhere or has its own key"),
                "use the key of that extension, once",
            );
            return None;
        }
        oids.push(*oid);
    }
    if customs.len() > MAX_LIST {
        out.add(list.first().map_or(0..0, Spanned::span), "too many custom extensions", format!("use at most {MAX_LIST}"));
        return None;
    }
    Some(customs)
}

fn custom(entry: &Spanned<CustomSpec>, out: &mut Findings<'_>) -> Option<Custom> {
    let spec = entry.get_ref();
    let extension = oid(&spec.oid, out)?;
    let texts = [(TextKind::Utf8, &spec.utf8), (TextKind::Ia5, &spec.ia5), (TextKind::Printable, &spec.printable)];
    let written = texts.iter().filter(|(_, t)| t.is_some()).count()
        + [spec.octets.is_some(), spec.object_id.is_some(), spec.integer.is_some(), spec.boolean.is_some()].iter().filter(|b| **b).count();
    if written != 1 {
        out.add(
            entry.span(),
            "a custom extension has exactly one value",
            "write one of utf8, ia5, printable, octets, object_id, integer, boolean",
        );
        return None;
    }
    for (kind, text) in texts {
        let Some(text) = text else { continue };
        let value = template(text, out)?;
        if let Some(Err(Unfit::Value(reason))) = value.literal().map(|t| kind.value(t)) {
            out.add(text.span(), reason, "use utf8, or characters of the narrower type");
            return None;
        }
        return Some(Custom::Filled(extension, spec.critical, kind, value));
    }
    let fixed = if let Some(text) = &spec.octets {
        let bytes = hex::decode(text.get_ref()).ok().filter(|b| b.len() <= 1024);
        if bytes.is_none() {
            out.add(text.span(), "not an even number of hexadecimal digits, at most 2048", "write the octets as e.g. \"0a1b2c\"");
        }
        encoded(extension, spec.critical, &OctetString::new(bytes?).ok()?)
    } else if let Some(text) = &spec.object_id {
        encoded(extension, spec.critical, &oid(text, out)?)
    } else if let Some(number) = &spec.integer {
        encoded(extension, spec.critical, number.get_ref())
    } else {
        encoded(extension, spec.critical, spec.boolean.as_ref()?.get_ref())
    };
    fixed.ok().map(Custom::Fixed)
}

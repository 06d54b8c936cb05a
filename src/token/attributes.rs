//! What a private key must be (K2), as data: the generation template, the check at every load
//! and the transcript all read the same table.

use super::TokenError;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;

/// One boolean attribute of a private key.
struct Rule {
    name: &'static str,
    kind: AttributeType,
    set: Option<fn(bool) -> Attribute>,
    wanted: bool,
}

const fn settable(name: &'static str, kind: AttributeType, set: fn(bool) -> Attribute, wanted: bool) -> Rule {
    Rule { name, kind, set: Some(set), wanted }
}

/// Set by the token alone: PKCS#11 refuses them in a template (CKR_ATTRIBUTE_READ_ONLY).
const fn reported(name: &'static str, kind: AttributeType) -> Rule {
    Rule { name, kind, set: None, wanted: true }
}

/// Every attribute that decides what the key can be used for or where it can go. Defaults differ
/// between tokens (SoftHSM lets a key decrypt, unwrap and sign-recover unless told otherwise), so
/// none is left to them. CKA_WRAP is an attribute of public and secret keys only.
const PRIVATE_KEY: [Rule; 14] = [
    settable("CKA_TOKEN", AttributeType::Token, Attribute::Token, true),
    settable("CKA_PRIVATE", AttributeType::Private, Attribute::Private, true),
    settable("CKA_SENSITIVE", AttributeType::Sensitive, Attribute::Sensitive, true),
    settable("CKA_EXTRACTABLE", AttributeType::Extractable, Attribute::Extractable, false),
    settable("CKA_MODIFIABLE", AttributeType::Modifiable, Attribute::Modifiable, false),
    settable("CKA_COPYABLE", AttributeType::Copyable, Attribute::Copyable, false),
    settable("CKA_SIGN", AttributeType::Sign, Attribute::Sign, true),
    settable("CKA_SIGN_RECOVER", AttributeType::SignRecover, Attribute::SignRecover, false),
    settable("CKA_DECRYPT", AttributeType::Decrypt, Attribute::Decrypt, false),
    settable("CKA_UNWRAP", AttributeType::Unwrap, Attribute::Unwrap, false),
    settable("CKA_DERIVE", AttributeType::Derive, Attribute::Derive, false),
    reported("CKA_ALWAYS_SENSITIVE", AttributeType::AlwaysSensitive),
    reported("CKA_NEVER_EXTRACTABLE", AttributeType::NeverExtractable),
    reported("CKA_LOCAL", AttributeType::Local),
];

/// An attribute that reads back otherwise than wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offence {
    /// PKCS#11 name, e.g. `CKA_DECRYPT`.
    pub attribute: &'static str,
    /// The value that it must have.
    pub wanted: bool,
    /// The value that the token reports; `None` when it reports none, which is not the same as false.
    pub actual: Option<bool>,
}

impl Offence {
    /// `CKA_DECRYPT must be false and is true; …` and the remedy.
    pub(super) fn join(offences: &[Self]) -> String {
        let list: Vec<String> = offences.iter().map(Self::to_string).collect();
        format!(
            "{}. Attributes of an existing key cannot be made trustworthy afterwards: generate a new key with 'sealwright ceremony' \
             and retire this one",
            list.join("; ")
        )
    }
}

impl std::fmt::Display for Offence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let actual = self.actual.map_or("not reported", |v| if v { "true" } else { "false" });
        write!(f, "{} must be {} and is {actual}", self.attribute, self.wanted)
    }
}

/// The attributes of a private key as the token reports them, in a fixed order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes(Vec<(&'static str, Option<bool>)>);

impl Attributes {
    /// Reads all of them, one call each: some modules stop at the first attribute they do not know.
    pub(super) fn read(session: &Session, key: ObjectHandle) -> Result<Self, TokenError> {
        let mut values = Vec::with_capacity(PRIVATE_KEY.len());
        for rule in &PRIVATE_KEY {
            let read = session.get_attributes(key, &[rule.kind])?;
            values.push((rule.name, read.first().and_then(boolean)));
        }
        Ok(Self(values))
    }

    /// PKCS#11 name and value of each, `None` where the token reports none.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Option<bool>)> + '_ {
        self.0.iter().copied()
    }

    /// Everything that is not as K2 wants it; empty for a good key.
    pub fn offences(&self) -> Vec<Offence> {
        let pairs = PRIVATE_KEY.iter().zip(&self.0);
        pairs
            .filter(|(rule, (_, actual))| *actual != Some(rule.wanted))
            .map(|(rule, (_, actual))| Offence { attribute: rule.name, wanted: rule.wanted, actual: *actual })
            .collect()
    }
}

/// PKCS#11 name and wanted value of every attribute that a private key must have (K2).
pub fn required_attributes() -> impl Iterator<Item = (&'static str, bool)> {
    PRIVATE_KEY.iter().map(|rule| (rule.name, rule.wanted))
}

/// The attributes to set explicitly on a new private key.
pub(super) fn private_key_template() -> Vec<Attribute> {
    PRIVATE_KEY.iter().filter_map(|rule| rule.set.map(|set| set(rule.wanted))).collect()
}

/// The public half: readable without login, good for verification only, fixed.
pub(super) fn public_key_template() -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Modifiable(false),
        Attribute::Verify(true),
        Attribute::Encrypt(false),
        Attribute::Wrap(false),
        Attribute::VerifyRecover(false),
    ]
}

fn boolean(attribute: &Attribute) -> Option<bool> {
    match attribute {
        Attribute::Token(v)
        | Attribute::Private(v)
        | Attribute::Sensitive(v)
        | Attribute::Extractable(v)
        | Attribute::Modifiable(v)
        | Attribute::Copyable(v)
        | Attribute::Sign(v)
        | Attribute::SignRecover(v)
        | Attribute::Decrypt(v)
        | Attribute::Unwrap(v)
        | Attribute::Derive(v)
        | Attribute::AlwaysSensitive(v)
        | Attribute::NeverExtractable(v)
        | Attribute::Local(v) => Some(*v),
        _ => None,
    }
}

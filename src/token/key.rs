//! Private keys: found by fingerprint or label, attributes checked at every load (K2).

use super::attributes::{Attributes, Offence};
use super::module::Token;
use super::public::spki_of;
use super::{TokenError, TokenUri};
use crate::types::{Fingerprint, KeyAlgorithm};
use crate::x509::keys;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};

/// Most private keys that one token is searched for.
const MAX_KEYS: usize = 10_000;

/// A private key in a token whose attributes are as K2 wants them. There is no other way to make
/// one than reading it back from the token.
#[derive(Clone, Debug)]
pub struct Key {
    pub(super) handle: ObjectHandle,
    label: String,
    id: Vec<u8>,
    spki_der: Vec<u8>,
    algorithm: KeyAlgorithm,
    attributes: Attributes,
}

impl Key {
    /// Name of the key (K3).
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_spki(&self.spki_der)
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// Algorithm of the key.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// CKA_LABEL.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// CKA_ID.
    pub fn id(&self) -> &[u8] {
        &self.id
    }

    /// The attributes as the token reported them when this key was loaded.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }
}

/// A private key as found, good or not: what `keys list` and `keys check` show.
#[derive(Clone, Debug)]
pub struct FoundKey {
    handle: ObjectHandle,
    /// CKA_LABEL, unprintable bytes replaced.
    pub label: String,
    /// CKA_ID.
    pub id: Vec<u8>,
    /// DER SubjectPublicKeyInfo, when the token holds the public half and sealwright handles its kind.
    pub spki_der: Option<Vec<u8>>,
    /// Attributes as the token reports them.
    pub attributes: Attributes,
}

impl FoundKey {
    /// Fingerprint of the public key, when known.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.spki_der.as_deref().map(Fingerprint::of_spki)
    }

    /// Algorithm of the public key, when known.
    pub fn algorithm(&self) -> Option<KeyAlgorithm> {
        self.spki_der.as_deref().and_then(|der| keys::classify(der).ok())
    }

    /// Everything about its attributes that K2 refuses.
    pub fn offences(&self) -> Vec<Offence> {
        self.attributes.offences()
    }

    pub(super) fn into_key(self) -> Result<Key, TokenError> {
        let offences = self.offences();
        if !offences.is_empty() {
            return Err(TokenError::WrongKey { label: self.label, offences });
        }
        let missing = || TokenError::NoSuchKey(format!("'{}' has no public key object of a supported kind beside it", self.label));
        let algorithm = self.algorithm().ok_or_else(missing)?;
        let spki_der = self.spki_der.clone().ok_or_else(missing)?;
        Ok(Key { handle: self.handle, label: self.label, id: self.id, spki_der, algorithm, attributes: self.attributes })
    }
}

impl Token {
    /// Every private key of the token, checked but not refused.
    pub fn keys(&self) -> Result<Vec<FoundKey>, TokenError> {
        self.search(&[])
    }

    /// Loads the key with this fingerprint; refused when any attribute is not as K2 wants it.
    pub fn find_key(&self, fingerprint: &Fingerprint) -> Result<Key, TokenError> {
        let found = self.search(&[])?.into_iter().filter(|k| k.fingerprint() == Some(*fingerprint)).collect();
        self.only(found, &format!("with fingerprint {fingerprint}"))
    }

    /// Loads the key with this CKA_LABEL; two of one label are refused.
    pub fn find_key_by_label(&self, label: &str) -> Result<Key, TokenError> {
        let found = self.search(&[Attribute::Label(label.as_bytes().to_vec())])?;
        self.only(found, &format!("labelled '{label}'"))
    }

    /// Loads the key that the `object` and `id` of a PKCS#11 URI name.
    pub fn find_key_by_uri(&self, uri: &TokenUri) -> Result<Key, TokenError> {
        let mut template = Vec::new();
        template.extend(uri.object().map(|label| Attribute::Label(label.as_bytes().to_vec())));
        template.extend(uri.id().map(|id| Attribute::Id(id.to_vec())));
        if template.is_empty() {
            return Err(TokenError::Uri("name the key by 'object' (its label) or 'id'".into()));
        }
        self.only(self.search(&template)?, &format!("named by {uri}"))
    }

    /// Whether any key object, private or public, has this label.
    pub(super) fn label_taken(&self, label: &str) -> Result<bool, TokenError> {
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY, ObjectClass::SECRET_KEY] {
            let template = [Attribute::Class(class), Attribute::Label(label.as_bytes().to_vec())];
            if !self.session.find_objects(&template)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn only(&self, mut found: Vec<FoundKey>, what: &str) -> Result<Key, TokenError> {
        let serial = &self.info().serial;
        match found.len() {
            1 => found.remove(0).into_key(),
            0 => Err(TokenError::NoSuchKey(format!("no private key {what} in token {serial}; see 'sealwright keys list'"))),
            n => Err(TokenError::NoSuchKey(format!("{n} private keys {what} in token {serial}; name it by fingerprint"))),
        }
    }

    fn search(&self, narrowed: &[Attribute]) -> Result<Vec<FoundKey>, TokenError> {
        let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
        template.extend_from_slice(narrowed);
        let handles = self.session.find_objects(&template)?;
        if handles.len() > MAX_KEYS {
            return Err(TokenError::Unsupported(format!("over {MAX_KEYS} private keys in one token")));
        }
        handles.into_iter().map(|handle| self.describe(handle)).collect()
    }

    /// Reads everything about one private key.
    pub(super) fn describe(&self, handle: ObjectHandle) -> Result<FoundKey, TokenError> {
        let (mut label, mut id) = (String::new(), Vec::new());
        for attribute in self.session.get_attributes(handle, &[AttributeType::Label, AttributeType::Id])? {
            match attribute {
                Attribute::Label(v) => {
                    label = String::from_utf8_lossy(&v).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
                }
                Attribute::Id(v) => id = v,
                _ => {}
            }
        }
        let attributes = Attributes::read(&self.session, handle)?;
        Ok(FoundKey { handle, spki_der: self.public_half(handle, &id)?, label, id, attributes })
    }

    /// The public key object of the same CKA_ID. Two different ones make the key nameless: its
    /// fingerprint would depend on the order in which the token lists them.
    fn public_half(&self, handle: ObjectHandle, id: &[u8]) -> Result<Option<Vec<u8>>, TokenError> {
        let mut found: Vec<Vec<u8>> = Vec::new();
        if !id.is_empty() {
            let template = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(id.to_vec())];
            for object in self.session.find_objects(&template)? {
                found.extend(spki_of(&self.session, object)?);
            }
        }
        found.sort();
        found.dedup();
        match found.len() {
            1 => Ok(found.pop()),
            0 => spki_of(&self.session, handle),
            _ => Ok(None),
        }
    }
}

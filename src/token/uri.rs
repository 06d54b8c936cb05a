//! PKCS#11 URIs (RFC 7512), without the parts that would break an invariant: slots are not
//! names (K3) and a PIN never stands in an argument or a configuration file.

use super::TokenError;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

/// Longest URI accepted, bytes.
const MAX_URI: usize = 4096;

/// Names a token, and optionally a key in it. At least `serial` or `token` is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenUri {
    serial: Option<String>,
    token: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    kind: Option<String>,
    module_path: Option<PathBuf>,
}

impl TokenUri {
    /// Names a token by serial number, label, or both; PKCS#11 bounds them to 16 and 32 bytes.
    pub fn token(serial: Option<&str>, label: Option<&str>) -> Result<Self, TokenError> {
        Self { serial: serial.map(str::to_owned), token: label.map(str::to_owned), ..Self::default() }.checked()
    }

    /// Reads `pkcs11:serial=…;token=…;object=…;id=%…;type=private?module-path=…`.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let bad = |reason: String| TokenError::Uri(reason);
        if text.len() > MAX_URI {
            return Err(bad(format!("longer than {MAX_URI} bytes")));
        }
        let rest = text.strip_prefix("pkcs11:").ok_or_else(|| bad("must start with 'pkcs11:'".into()))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self::default();
        let attributes = path.split(';').chain(query.split('&')).filter(|part| !part.is_empty());
        for part in attributes {
            let (name, value) = part.split_once('=').ok_or_else(|| bad(format!("'{part}' is not NAME=VALUE")))?;
            uri.set(name, value)?;
        }
        uri.checked()
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), TokenError> {
        let bytes = percent_decode(value).ok_or_else(|| TokenError::Uri(format!("bad percent encoding in '{name}'")))?;
        let text = |b: Vec<u8>| String::from_utf8(b).map_err(|_| TokenError::Uri(format!("'{name}' is not UTF-8")));
        let twice = match name {
            "serial" => self.serial.replace(text(bytes)?).is_some(),
            "token" => self.token.replace(text(bytes)?).is_some(),
            "manufacturer" => self.manufacturer.replace(text(bytes)?).is_some(),
            "model" => self.model.replace(text(bytes)?).is_some(),
            "object" => self.object.replace(text(bytes)?).is_some(),
            "type" => self.kind.replace(text(bytes)?).is_some(),
            "id" => self.id.replace(bytes).is_some(),
            "module-path" => self.module_path.replace(PathBuf::from(text(bytes)?)).is_some(),
            "slot-id" | "slot-description" | "slot-manufacturer" => {
                return Err(TokenError::Uri("slot numbers change when tokens come and go; name the token by 'serial' or 'token'".into()));
            }
            "pin-value" | "pin-source" => {
                return Err(TokenError::Uri("a PIN does not belong in a URI; use a PIN file, a descriptor or the prompt".into()));
            }
            other => return Err(TokenError::Uri(format!("unknown attribute '{other}'"))),
        };
        if twice { Err(TokenError::Uri(format!("'{name}' occurs twice"))) } else { Ok(()) }
    }

    fn checked(self) -> Result<Self, TokenError> {
        if self.serial.is_none() && self.token.is_none() {
            return Err(TokenError::Uri("name the token by 'serial' or 'token' (its label)".into()));
        }
        let long = |v: &Option<String>, max: usize| v.as_ref().is_some_and(|s| s.is_empty() || s.len() > max);
        // CK_TOKEN_INFO: serialNumber and model have 16 bytes, label and manufacturerID 32.
        if long(&self.serial, 16) || long(&self.model, 16) || long(&self.token, 32) || long(&self.manufacturer, 32) {
            return Err(TokenError::Uri("serial and model have 1 to 16 bytes, token and manufacturer 1 to 32".into()));
        }
        if self.kind.as_deref().is_some_and(|k| k != "private" && k != "public") {
            return Err(TokenError::Uri("'type' must be private or public".into()));
        }
        Ok(self)
    }

    /// Serial number of the token, when the URI names one.
    pub fn serial(&self) -> Option<&str> {
        self.serial.as_deref()
    }

    /// CKA_LABEL of the wanted key, when the URI names one.
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    /// CKA_ID of the wanted key, when the URI names one.
    pub fn id(&self) -> Option<&[u8]> {
        self.id.as_deref()
    }

    /// Path of the PKCS#11 module, when the URI names one.
    pub fn module_path(&self) -> Option<&Path> {
        self.module_path.as_deref()
    }

    /// The same URI with the key named by label and CKA_ID.
    pub fn with_key(&self, label: &str, id: &[u8]) -> Self {
        Self { object: Some(label.to_owned()), id: Some(id.to_vec()), kind: Some("private".into()), ..self.clone() }
    }

    /// Whether a token with these CK_TOKEN_INFO fields (blanks trimmed) is the one named.
    pub(super) fn matches(&self, serial: &str, label: &str, manufacturer: &str, model: &str) -> bool {
        let same = |wanted: &Option<String>, actual: &str| wanted.as_ref().is_none_or(|w| w == actual);
        same(&self.serial, serial) && same(&self.token, label) && same(&self.manufacturer, manufacturer) && same(&self.model, model)
    }
}

impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pkcs11:")?;
        let fields = [
            ("serial", &self.serial),
            ("token", &self.token),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("object", &self.object),
            ("type", &self.kind),
        ];
        let mut separator = "";
        for (name, value) in fields {
            if let Some(value) = value {
                write!(f, "{separator}{name}={}", percent_encode(value.as_bytes(), false))?;
                separator = ";";
            }
        }
        if let Some(id) = &self.id {
            write!(f, "{separator}id={}", percent_encode(id, true))?;
        }
        if let Some(path) = &self.module_path {
            write!(f, "?module-path={}", percent_encode(path.to_string_lossy().as_bytes(), false))?;
        }
        Ok(())
    }
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let pair = [bytes.next()?, bytes.next()?];
            out.extend(hex::decode(pair).ok()?);
        } else {
            out.push(b);
        }
    }
    Some(out)
}

/// RFC 3986 unreserved characters stand for themselves; `/` too, which RFC 7512 allows.
fn percent_encode(bytes: &[u8], all: bool) -> String {
    let mut out = String::new();
    for b in bytes {
        if !all && (b.is_ascii_alphanumeric() || b"-._~/".contains(b)) {
            out.push(char::from(*b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_reads_back_as_it_prints() {
        let text = "pkcs11:serial=0a1b;token=Root%20R1;object=key%3B1;type=private;id=%00%FF?module-path=/usr/lib/x.so";
        let uri = TokenUri::parse(text).unwrap();
        assert_eq!(uri.object(), Some("key;1"));
        assert_eq!(uri.id(), Some(&[0u8, 255][..]));
        assert_eq!(uri.module_path(), Some(Path::new("/usr/lib/x.so")));
        assert_eq!(uri.to_string(), text);
        assert!(uri.matches("0a1b", "Root R1", "anyone", "any"));
        assert!(!uri.matches("0a1c", "Root R1", "anyone", "any"));
    }

    #[test]
    fn slots_pins_and_nameless_tokens_are_refused_with_a_remedy() {
        for (text, remedy) in [
            ("pkcs11:slot-id=0", "serial"),
            ("pkcs11:token=a?pin-value=1234", "PIN file"),
            ("pkcs11:object=a", "name the token"),
            ("pkcs11:token=a;token=b", "twice"),
            ("pkcs11:token=%4", "percent"),
            ("pkcs11:token=", "1 to 32"),
            ("token=a", "pkcs11:"),
            ("pkcs11:tokn=a", "tokn"),
        ] {
            let message = TokenUri::parse(text).unwrap_err().to_string();
            assert!(message.contains(remedy), "{text}: {message}");
        }
    }
}

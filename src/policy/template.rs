//! Templates: literal text and identity fields, `"Device {id|plain|lower}"`.

use crate::types::DeviceIdentity;
use std::fmt;

/// Longest template accepted, in bytes: the longest name it may fill is a 256-character URI.
pub const MAX_TEMPLATE: usize = 256;

/// A field of [`DeviceIdentity`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// The canonical id.
    Id,
    /// Device type.
    DeviceType,
    /// Hardware revision.
    HardwareRevision,
    /// Firmware version.
    FirmwareVersion,
}

impl Field {
    const ALL: [Self; 4] = [Self::Id, Self::DeviceType, Self::HardwareRevision, Self::FirmwareVersion];

    /// Name in templates and in requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::DeviceType => "device_type",
            Self::HardwareRevision => "hardware_revision",
            Self::FirmwareVersion => "firmware_version",
        }
    }
}

/// How a field's text is changed before it is put in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Filter {
    Lower,
    Upper,
    /// Without the separators `: - .`, e.g. a MAC as twelve digits.
    Plain,
    /// `-` becomes `:`, e.g. a MAC with colons.
    Colon,
}

impl Filter {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "lower" => Self::Lower,
            "upper" => Self::Upper,
            "plain" => Self::Plain,
            "colon" => Self::Colon,
            _ => return None,
        })
    }

    fn apply(self, text: String) -> String {
        match self {
            Self::Lower => text.to_ascii_lowercase(),
            Self::Upper => text.to_ascii_uppercase(),
            Self::Plain => text.replace([':', '-', '.'], ""),
            Self::Colon => text.replace('-', ":"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Upper => "upper",
            Self::Plain => "plain",
            Self::Colon => "colon",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(String),
    Field(Field, Vec<Filter>),
}

/// A template whose every field and filter exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template(Vec<Part>);

impl Template {
    /// Reads literal text with `{field}` or `{field|filter|…}`; the error says what is wrong and allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > MAX_TEMPLATE {
            return Err(format!("a template has 1 to {MAX_TEMPLATE} characters"));
        }
        if text.chars().any(char::is_control) {
            return Err("control characters are not allowed in names".into());
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, tail)) = rest.split_once('{') {
            push_text(&mut parts, literal)?;
            let (inside, tail) = tail.split_once('}').ok_or("'{' without '}'")?;
            parts.push(parse_field(inside)?);
            rest = tail;
        }
        push_text(&mut parts, rest)?;
        Ok(Self(parts))
    }

    /// Literal text, without fields.
    pub(super) fn text(text: &str) -> Self {
        Self(vec![Part::Text(text.to_owned())])
    }

    /// The text when no field occurs.
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Fills in the identity's fields; the error is the field that the identity lacks.
    pub fn render(&self, identity: &DeviceIdentity) -> Result<String, Field> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(field, filters) => {
                    let value = identity.field(field.name()).ok_or(*field)?;
                    out.push_str(&filters.iter().fold(value, |v, f| f.apply(v)));
                }
            }
        }
        Ok(out)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Field(field, filters) => {
                write!(f, "{{{}", field.name())?;
                filters.iter().try_for_each(|x| write!(f, "|{}", x.name()))?;
                f.write_str("}")
            }
        })
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) -> Result<(), String> {
    if text.contains('}') {
        return Err("'}' without '{'".into());
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
    Ok(())
}

fn parse_field(inside: &str) -> Result<Part, String> {
    let mut words = inside.split('|');
    let name = words.next().unwrap_or_default();
    let field = Field::ALL.into_iter().find(|f| f.name() == name).ok_or_else(|| {
        format!("'{{{name}}}' is not an identity field; there are {{id}}, {{device_type}}, {{hardware_revision}}, {{firmware_version}}")
    })?;
    let filters = words
        .map(|w| Filter::parse(w).ok_or_else(|| format!("'{w}' is not a filter; there are lower, upper, plain, colon")))
        .collect::<Result<_, _>>()?;
    Ok(Part::Field(field, filters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::DeviceId;

    #[test]
    fn fields_and_filters_render() {
        let id = DeviceIdentity::new(DeviceId::parse("mac", "00:1a:2b:3c:4d:5e").unwrap());
        let render = |t: &str| Template::parse(t).unwrap().render(&id);
        assert_eq!(render("a {id} b").unwrap(), "a 00-1A-2B-3C-4D-5E b");
        assert_eq!(render("{id|plain|lower}").unwrap(), "001a2b3c4d5e");
        assert_eq!(render("{id|colon}").unwrap(), "00:1A:2B:3C:4D:5E");
        assert_eq!(render("{device_type}"), Err(Field::DeviceType));
        assert_eq!(Template::parse("x{id|plain|lower}y").unwrap().to_string(), "x{id|plain|lower}y");
        for bad in ["", "{id", "id}", "{ids}", "{id|big}", "a\nb"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}

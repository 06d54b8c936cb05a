//! Templates as files: the certificate that a template was made from, and three parameters.

use super::{CompressError, Template, Varies};
use serde::{Deserialize, Serialize};

const FORMAT: &str = "sealwright certificate template";
/// Largest template file that is read.
pub const MAX_TEMPLATE_BYTES: usize = 64 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTemplate {
    format: String,
    version: u32,
    certificate: String,
    varies: RawVaries,
    template_id: u8,
    chain_id: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawVaries {
    Nothing,
    Identity,
}

impl Template {
    /// Reads a template file (JSON, version 1); everything else is worked out from the certificate again.
    pub fn parse(text: &str) -> Result<Self, CompressError> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(CompressError::Structure("the template file is too long"));
        }
        let raw: RawTemplate = serde_json::from_str(text).map_err(|_| CompressError::Structure("not a certificate template file"))?;
        if raw.format != FORMAT || raw.version != 1 {
            return Err(CompressError::Structure("not a certificate template file of version 1"));
        }
        let der = hex::decode(&raw.certificate).map_err(|_| CompressError::Structure("the template's certificate is not hexadecimal"))?;
        let varies = match raw.varies {
            RawVaries::Nothing => Varies::Nothing,
            RawVaries::Identity => Varies::Identity,
        };
        Self::from_certificate(&der, varies, raw.template_id, raw.chain_id)
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let (template_id, chain_id) = self.ids();
        let varies = match self.varies {
            Varies::Nothing => RawVaries::Nothing,
            Varies::Identity => RawVaries::Identity,
        };
        let certificate = hex::encode(self.certificate());
        let raw = RawTemplate { format: FORMAT.into(), version: 1, certificate, varies, template_id, chain_id };
        serde_json::to_string_pretty(&raw).unwrap_or_default()
    }
}

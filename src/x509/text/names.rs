//! Distinguished and general names as openssl prints them.

use const_oid::db::rfc4519;
use std::fmt::Write;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

/// `C = DE, O = "Acme, Inc", CN = Root R1`, in encoded order.
pub fn name(name: &Name) -> String {
    let rdns = name.iter_rdn().map(|rdn| {
        let values = rdn.iter().map(|atv| {
            let short = match atv.oid {
                rfc4519::CN => "CN".to_owned(),
                rfc4519::O => "O".to_owned(),
                rfc4519::OU => "OU".to_owned(),
                rfc4519::C => "C".to_owned(),
                rfc4519::SERIAL_NUMBER => "serialNumber".to_owned(),
                rfc4519::L => "L".to_owned(),
                rfc4519::ST => "ST".to_owned(),
                rfc4519::DC => "DC".to_owned(),
                rfc4519::UID => "UID".to_owned(),
                oid => oid.to_string(),
            };
            format!("{short} = {}", value(atv.value.value()))
        });
        values.collect::<Vec<_>>().join(" + ")
    });
    rdns.collect::<Vec<_>>().join(", ")
}

/// Quoted when a comma or plus would make it ambiguous (RFC 2253); control and non-ASCII bytes
/// as `\XX`, so that nothing in a name can draw on the operator's terminal.
fn value(bytes: &[u8]) -> String {
    let mut out = String::new();
    for b in bytes {
        match b {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(*b));
            }
            0x20..=0x7e => out.push(char::from(*b)),
            _ => {
                let _ = write!(out, "\\{b:02X}");
            }
        }
    }
    let ambiguous = out.contains([',', '+', ';', '<', '>']) || out.starts_with([' ', '#']) || out.ends_with(' ');
    if ambiguous { format!("\"{out}\"") } else { out }
}

/// `DNS:a.b`, `URI:…`, `IP Address:…`.
pub(super) fn general(name: &GeneralName) -> String {
    let plain = |s: &str| s.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '.' }).collect::<String>();
    match name {
        GeneralName::DnsName(v) => format!("DNS:{}", plain(v.as_str())),
        GeneralName::Rfc822Name(v) => format!("email:{}", plain(v.as_str())),
        GeneralName::UniformResourceIdentifier(v) => format!("URI:{}", plain(v.as_str())),
        GeneralName::DirectoryName(v) => format!("DirName:{}", self::name(v)),
        GeneralName::IpAddress(v) => match *v.as_bytes() {
            [a, b, c, d] => format!("IP Address:{a}.{b}.{c}.{d}"),
            ref other => format!("IP Address:{}", hex::encode(other)),
        },
        GeneralName::RegisteredId(oid) => format!("Registered ID:{oid}"),
        GeneralName::OtherName(other) => format!("othername: {}:<{}>", other.type_id, hex::encode(other.value.value())),
        GeneralName::EdiPartyName(_) => "EdiPartyName:<unsupported>".to_owned(),
    }
}

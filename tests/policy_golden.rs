//! Bad profiles: what `policy check` says of each, to the letter. Regenerate after a deliberate
//! change of wording with `UPDATE_GOLDEN=1 cargo test --test policy_golden`, and read the diff.

use sealwright::policy::problem::Source;
use sealwright::policy::set::PolicySet;
use std::fmt::Write;

const GOOD: &str = r#"version = 1
name = "sensor"
description = "A sensor."
roles = ["station"]

[identity]
kinds = ["free", "mac48"]
pattern = "[A-Z0-9-]+"

[key]
algorithms = ["p256"]

[validity]
duration = "2y"
minimum = "1y"

[subject]
rdns = [{ O = "Example" }, { CN = "{id}" }]

[san]
names = [{ dns = "{id|lower}.example" }]

[extensions]
key_usage = ["digitalSignature"]
extended_key_usage = ["clientAuth"]
subject_key_identifier = true
"#;

/// What is changed in the good profile: text and replacement.
const MUTATIONS: [(&str, &str); 66] = [
    ("version = 1", "version = 2"),
    ("version = 1\n", ""),
    ("version = 1", "version = \"1\""),
    ("name = \"sensor\"", "name = \"my sensor\""),
    ("name = \"sensor\"\n", ""),
    ("name = \"sensor\"", "name = \"sensor"),
    ("\"A sensor.\"", "\" \""),
    ("roles = [\"station\"]\n", ""),
    ("roles = [\"station\"]", "roles = [\"Station\"]"),
    ("roles = [\"station\"]", "role = [\"station\"]"),
    ("roles = [\"station\"]", "roles = \"station\""),
    ("[key]", "[keys]"),
    ("[key]\nalgorithms = [\"p256\"]\n", ""),
    ("algorithms = [\"p256\"]", "algoritms = [\"p256\"]"),
    ("\"p256\"", "\"P-256\""),
    ("\"p256\"", "\"rsa1024\""),
    ("[\"p256\"]", "[]"),
    ("\"free\", \"mac48\"", "\"serial\""),
    ("[\"free\", \"mac48\"]", "[]"),
    ("\"[A-Z0-9-]+\"", "\"[A-Z0-9-\""),
    ("pattern = \"[A-Z0-9-]+\"", "min_length = 0"),
    ("pattern = \"[A-Z0-9-]+\"", "max_length = 65"),
    ("pattern = \"[A-Z0-9-]+\"", "min_length = 9\nmax_length = 8"),
    ("\"2y\"", "\"2 years\""),
    ("\"2y\"", "\"101y\""),
    ("\"2y\"", "\"-1d\""),
    ("\"2y\"", "\"1s\""),
    ("minimum = \"1y\"", "minimum = \"3y\""),
    ("minimum = \"1y\"", "until = \"2030-01-01\""),
    ("duration = \"2y\"\nminimum = \"1y\"\n", ""),
    ("duration = \"2y\"\nminimum = \"1y\"", "until = \"2030-02-30\""),
    ("duration = \"2y\"", "until = \"2030-01-01\""),
    ("minimum = \"1y\"", "backdate = \"8d\""),
    ("minimum = \"1y\"", "outlive_issuer = true"),
    ("CN = \"{id}\"", "CN = \"{serial}\""),
    ("CN = \"{id}\"", "CN = \"{id\""),
    ("CN = \"{id}\"", "CN = \"{id|big}\""),
    ("CN = \"{id}\"", "CN = \"\""),
    ("CN = \"{id}\"", "XN = \"{id}\""),
    ("{ CN = \"{id}\" }", "{ CN = \"{id}\", OU = \"x\" }"),
    ("O = \"Example\"", "C = \"Germany\""),
    ("O = \"Example\"", "C = \"de\""),
    ("O = \"Example\"", "serialNumber = \"a_b\""),
    ("[subject]\n", "[subject]\nencoding = \"bmp\"\n"),
    ("rdns = [{ O = \"Example\" }, { CN = \"{id}\" }]", "rdns = []"),
    ("{ dns = \"{id|lower}.example\" }", "{ dns = \"-bad-.example\" }"),
    ("{ dns = \"{id|lower}.example\" }", "{ uri = \"no scheme\" }"),
    ("{ dns = \"{id|lower}.example\" }", "{ ip = \"10.0.0\" }"),
    ("{ dns = \"{id|lower}.example\" }", "{ mac = \"{id}\" }"),
    ("{ dns = \"{id|lower}.example\" }", "{ registered_id = \"1.2.x\" }"),
    ("{ dns = \"{id|lower}.example\" }", "{ hardware_module = { type = \"x\", serial = \"{id}\" } }"),
    ("[{ dns = \"{id|lower}.example\" }]", "[]"),
    ("[\"digitalSignature\"]", "[\"digital_signature\"]"),
    ("[\"digitalSignature\"]", "[\"keyCertSign\"]"),
    ("[\"digitalSignature\"]", "[\"digitalSignature\", \"digitalSignature\"]"),
    ("[\"digitalSignature\"]", "[]"),
    ("[\"clientAuth\"]", "[\"client\"]"),
    ("[\"clientAuth\"]", "[\"2.5.29.37.0\"]"),
    ("subject_key_identifier = true", "subject_key_identifier = \"yes\""),
    ("subject_key_identifier = true", "subject_key_identifier = true\ncritical = [\"certificate_policies\"]"),
    ("subject_key_identifier = true", "subject_key_identifier = true\ncps_uri = \"https://example.com/cps\""),
    ("subject_key_identifier = true", "subject_key_identifier = true\ncrl = \"example.com/crl\""),
    (
        "subject_key_identifier = true",
        "subject_key_identifier = true\n[[extensions.custom]]\noid = \"1.3.6.1.4.1.32473.1\"\nutf8 = \"a\"\ninteger = 1",
    ),
    ("subject_key_identifier = true", "subject_key_identifier = true\n[[extensions.custom]]\noid = \"2.5.29.19\"\nboolean = true"),
    ("roles = [\"station\"]", "roles = [\"station\"]\nstandards = [\"matter\"]"),
    ("roles = [\"station\"]", "roles = [\"station\"]\nextends = \"gateway\""),
];

fn said(text: &str) -> Vec<String> {
    let source = Source { name: "sensor.toml".into(), text: text.to_owned() };
    PolicySet::from_sources(&[source]).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn every_bad_profile_is_refused_with_place_and_remedy() {
    assert_eq!(said(GOOD), Vec::<String>::new(), "the profile that is changed must be good");
    let mut report = String::new();
    for (from, to) in MUTATIONS {
        assert_eq!(GOOD.matches(from).count(), 1, "{from}");
        let problems = said(&GOOD.replace(from, to));
        assert!(!problems.is_empty(), "accepted: {from:?} -> {to:?}");
        let _ = writeln!(report, "## {from:?} -> {to:?}\n{}\n", problems.join("\n"));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/bad-profiles.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &report).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    let differs = report.lines().zip(golden.lines()).position(|(a, b)| a != b);
    assert!(report == golden, "differs from tests/golden/bad-profiles.txt at line {:?}:\n{report}", differs.map(|i| i + 1));
}

#[test]
fn several_problems_are_told_at_once_and_inheritance_is_checked() {
    let text = GOOD.replace("\"p256\"", "\"p1\"").replace("\"2y\"", "\"soon\"").replace("\"free\"", "\"any\"");
    assert_eq!(said(&text).len(), 3, "{:?}", said(&text));
    let source = |name: &str, text: String| Source { name: format!("{name}.toml"), text };
    let child = |parent: &str| format!("version = 1\nname = \"b\"\ndescription = \"b\"\nextends = \"{parent}\"\n");
    let good = PolicySet::from_sources(&[source("a", GOOD.into()), source("b", child("sensor"))]).unwrap();
    assert_eq!(good.iter().count(), 2);
    // A broken section is told once, in the file that writes it.
    let broken = GOOD.replace("\"p256\"", "\"p1\"");
    let problems = PolicySet::from_sources(&[source("a", broken), source("b", child("sensor"))]).unwrap_err();
    assert_eq!(problems.iter().map(|p| p.file.as_str()).collect::<Vec<_>>(), ["a.toml"]);
    let grandchild = child("b").replace("name = \"b\"", "name = \"c\"");
    let problems = PolicySet::from_sources(&[source("a", GOOD.into()), source("b", child("sensor")), source("c", grandchild)]).unwrap_err();
    assert!(problems[0].message.contains("extends another one itself"), "{problems:?}");
    let twice = PolicySet::from_sources(&[source("a", GOOD.into()), source("b", GOOD.into())]).unwrap_err();
    assert_eq!((twice[0].file.as_str(), twice[0].line, twice[0].column), ("b.toml", 2, 8));
}

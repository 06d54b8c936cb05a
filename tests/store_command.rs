//! `sealwright store`: check, export and backup beside a working daemon.

mod common;

use common::factory::Factory;
use common::{expect_good, text};
use serde_json::Value;

#[test]
fn a_backup_taken_beside_a_working_daemon_is_sound_and_damage_is_named() {
    let mut factory = Factory::running();
    let csr = factory.request("a");
    let first = factory.enrolled("r-1", "unit", &csr);
    factory.enrolled("r-2", "unit", &csr);
    let run = |args: &[&str]| factory.fixture.sealwright(&[&["store"], args].concat());
    expect_good(run(&["backup", "store", "copy"]));
    assert_eq!(run(&["backup", "store", "copy"]).status.code(), Some(2), "a backup must not overwrite");
    factory.enrolled("r-3", "unit", &csr);

    let report = |dir: &str| serde_json::from_str::<Value>(&expect_good(run(&["check", dir, "--json"]))).unwrap();
    assert_eq!(report("copy")["certificates"], 2);
    assert_eq!(report("store")["certificates"], 3);
    let lines = |args: &[&str]| expect_good(run(&[&["export", "store"], args].concat()));
    assert_eq!(lines(&[]).lines().count(), 3);
    let serial = first["serial"].as_str().unwrap();
    let one: Value = serde_json::from_str(&lines(&["--serial", serial])).unwrap();
    assert_eq!((&one["certificate"], one["request_id"].as_str()), (&first["certificate"], Some("r-1")));
    assert_eq!(lines(&["--key", one["key"].as_str().unwrap(), "--profile", "generic-device"]).lines().count(), 3);
    assert_eq!(lines(&["--device", "nobody"]), "");
    assert_eq!(lines(&["--until", "1"]), "");
    factory.stop();

    // A byte of a certificate in the copy is changed behind everybody's back.
    let damage = "import sqlite3; d = sqlite3.connect('copy/sealwright.sqlite3'); \
                  d.execute(\"UPDATE certificates SET der = CAST(substr(der, 1, 200) || x'ff' || substr(der, 202) AS BLOB)\"); d.commit()";
    let out = factory.fixture.command("python3").args(["-c", damage]).output().unwrap();
    assert!(out.status.success(), "{}", text(&out));
    let out = factory.fixture.sealwright(&["store", "check", "copy"]);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    assert!(text(&out).contains("NOT SOUND") && text(&out).contains(&format!("certificate {serial}")), "{}", text(&out));
    assert_eq!(factory.fixture.sealwright(&["store", "check", "nowhere"]).status.code(), Some(2));
}

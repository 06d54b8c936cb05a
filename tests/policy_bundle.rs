//! Policy bundles with approvals by stock ssh-keygen.

use sealwright::approval::Roster;
use sealwright::policy::bundle::{ActivePolicy, Bundle, BundleError};
use sealwright::types::unix_now;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

struct Office {
    dir: tempfile::TempDir,
}

impl Office {
    /// Three officers with fresh keys, and a roster.
    fn new() -> Self {
        let office = Self { dir: tempfile::tempdir().unwrap() };
        let mut roster = String::new();
        for name in ["ann", "bob", "cleo"] {
            office.run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", name]);
            let key = std::fs::read_to_string(office.path(&format!("{name}.pub"))).unwrap();
            roster.push_str(&format!("{name} namespaces=\"policy@sealwright\" {key}"));
        }
        std::fs::write(office.path("roster"), roster).unwrap();
        office
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        let out = Command::new(program).args(args).current_dir(self.dir.path()).output().unwrap();
        assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        out
    }

    fn sealwright(&self, args: &[&str]) -> (Option<i32>, String) {
        let out = Command::new(env!("CARGO_BIN_EXE_sealwright")).args(args).current_dir(self.dir.path()).output().unwrap();
        (out.status.code(), format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
    }

    /// A sealed bundle whose generic profile lasts `years`, signed by these officers.
    fn bundle(&self, name: &str, years: u32, previous: Option<&str>, officers: &[&str]) {
        let dir = self.path(name);
        std::fs::create_dir_all(dir.join("approvals")).unwrap();
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/generic-device.toml")).unwrap();
        std::fs::write(dir.join("generic-device.toml"), text.replace("\"2y\"", &format!("\"{years}y\""))).unwrap();
        let previous = previous.map(|p| format!("{p}/MANIFEST"));
        let mut args = vec!["policy", "seal", name];
        args.extend(previous.iter().flat_map(|p| ["--previous", p.as_str()]));
        let (code, text) = self.sealwright(&args);
        assert_eq!(code, Some(0), "{text}");
        officers.iter().for_each(|o| self.sign(name, o, "policy@sealwright"));
    }

    fn sign(&self, bundle: &str, officer: &str, namespace: &str) {
        self.run("ssh-keygen", &["-q", "-Y", "sign", "-n", namespace, "-f", officer, &format!("{bundle}/MANIFEST")]);
        std::fs::rename(self.path(&format!("{bundle}/MANIFEST.sig")), self.path(&format!("{bundle}/approvals/{officer}.sig"))).unwrap();
    }

    fn open(&self, name: &str) -> Result<Bundle, BundleError> {
        let roster = Roster::parse(&std::fs::read_to_string(self.path("roster")).unwrap()).unwrap();
        Bundle::open(&self.path(name), &roster, 2, unix_now())
    }
}

#[test]
fn two_officers_make_a_bundle_and_any_change_unmakes_it() {
    let office = Office::new();
    office.bundle("one", 2, None, &["ann"]);
    let verify = ["policy", "verify", "one", "--roster", "roster", "--approvals", "2"];
    let (code, text) = office.sealwright(&verify);
    assert!(code == Some(1) && text.contains("1 of 2 approvals count"), "{text}");
    office.sign("one", "bob", "file");
    let (code, text) = office.sealwright(&verify);
    assert!(code == Some(1) && text.contains("sign with -n policy@sealwright"), "{text}");
    std::fs::copy(office.path("one/approvals/ann.sig"), office.path("one/approvals/bob.sig")).unwrap();
    assert!(matches!(office.open("one"), Err(BundleError::Approvals { have: 1, .. })), "one person counts once");
    office.sign("one", "bob", "policy@sealwright");
    let (code, text) = office.sealwright(&verify);
    assert!(code == Some(0) && text.contains("version 1") && text.contains("ann, bob"), "{text}");

    let profile = office.path("one/generic-device.toml");
    let good = std::fs::read_to_string(&profile).unwrap();
    std::fs::write(&profile, format!("{good}\n# harmless\n")).unwrap();
    assert!(matches!(office.open("one"), Err(BundleError::Manifest(m)) if m.contains("generic-device.toml")));
    std::fs::write(&profile, &good).unwrap();
    std::fs::write(office.path("one/extra.toml"), good.replace("generic-device", "extra")).unwrap();
    assert!(matches!(office.open("one"), Err(BundleError::Manifest(m)) if m.contains("extra.toml")));
    std::fs::remove_file(office.path("one/extra.toml")).unwrap();
    let manifest = std::fs::read(office.path("one/MANIFEST")).unwrap();
    for i in 0..manifest.len() {
        let mut bad = manifest.clone();
        bad[i] ^= 1;
        std::fs::write(office.path("one/MANIFEST"), bad).unwrap();
        assert!(office.open("one").is_err(), "byte {i} of the manifest");
    }
    std::fs::write(office.path("one/MANIFEST"), manifest).unwrap();
    office.open("one").unwrap();
    let (code, text) = office.sealwright(&["policy", "seal", "one"]);
    assert!(code == Some(2) && text.contains("cannot create"), "{text}");
}

#[test]
fn policies_only_move_forward_and_requests_keep_theirs() {
    let office = Office::new();
    let both = ["ann", "cleo"];
    office.bundle("one", 2, None, &both);
    office.bundle("two", 3, Some("one"), &both);
    office.bundle("other", 4, Some("one"), &both);
    office.bundle("three", 5, Some("two"), &both);
    let head = office.path("head");
    let active = ActivePolicy::start(&head, office.open("one").unwrap()).unwrap();
    let pinned = active.current();
    assert!(matches!(active.activate(office.open("three").unwrap()), Err(BundleError::Chain(_))), "no gap");
    active.activate(office.open("two").unwrap()).unwrap();
    assert_eq!(active.version(), 2);
    assert!(pinned.hash() != active.current().hash() && Arc::strong_count(&pinned) == 1);
    for old in ["one", "two", "other"] {
        assert!(matches!(active.activate(office.open(old).unwrap()), Err(BundleError::Rollback { active: 2, .. })), "{old}");
    }
    drop(active);
    assert!(matches!(ActivePolicy::start(&head, office.open("one").unwrap()), Err(BundleError::Rollback { .. })), "after a restart");
    assert_eq!(ActivePolicy::start(&head, office.open("two").unwrap()).unwrap().version(), 2);
    assert_eq!(ActivePolicy::start(&head, office.open("three").unwrap()).unwrap().version(), 3);
    std::fs::write(&head, "sealwright policy head v2\n").unwrap();
    assert!(matches!(ActivePolicy::start(&head, office.open("three").unwrap()), Err(BundleError::File { .. })));
}

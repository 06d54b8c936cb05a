//! Certificates made by openssl in a fresh directory, and foreign judges of chains.
#![allow(dead_code)] // each test binary uses its part

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

pub const ROOT: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n";
pub const SUB: &str = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
pub const DEVICE: &str = "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth,codeSigning\nsubjectAltName=DNS:device-1.example\nauthorityKeyIdentifier=keyid\n";

pub const TIMESTAMPING: &str = "keyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\nauthorityKeyIdentifier=keyid\n";

const CONFIG: &str = "[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\nunique_subject=no\n\
    default_md=default\npolicy=any\nemail_in_dn=yes\ncrlnumber=crlnumber\n[any]\nCN=optional\nO=optional\nC=optional\nserialNumber=optional\n\
    [req]\ndistinguished_name=dn\nprompt=no\n[dn]\n";

/// A directory of keys and certificates, named without extension.
pub struct Pki {
    dir: tempfile::TempDir,
}

/// What one certificate shall be; `issuer` equal to `name` makes it self-signed.
pub struct Spec<'a> {
    pub name: &'a str,
    pub issuer: &'a str,
    pub subject: &'a str,
    pub extensions: &'a str,
    pub dates: (&'a str, &'a str),
}

pub const LONG: (&str, &str) = ("20200101000000Z", "20491231235959Z");

impl Pki {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.cnf"), CONFIG).unwrap();
        std::fs::write(dir.path().join("index.txt"), "").unwrap();
        std::fs::write(dir.path().join("crlnumber"), "1000\n").unwrap();
        Self { dir }
    }

    /// Root on P-384, intermediate and device on P-256: `root`, `sub`, `device`.
    pub fn three_tiers() -> Self {
        let pki = Self::new();
        pki.root("root", "/CN=Test Root");
        pki.sub("sub", "root", SUB);
        pki.device("device", "sub", DEVICE);
        pki
    }

    pub fn root(&self, name: &str, subject: &str) {
        self.key(name, "P-384");
        self.issue(&Spec { name, issuer: name, subject, extensions: ROOT, dates: LONG });
    }

    pub fn sub(&self, name: &str, issuer: &str, extensions: &str) {
        self.key(name, "P-256");
        self.issue(&Spec { name, issuer, subject: &format!("/O=Acme/CN=Test {name}"), extensions, dates: LONG });
    }

    pub fn device(&self, name: &str, issuer: &str, extensions: &str) {
        self.key(name, "P-256");
        self.issue(&Spec { name, issuer, subject: &format!("/CN={name}/serialNumber=42"), extensions, dates: LONG });
    }

    pub fn key(&self, name: &str, curve: &str) {
        let out = format!("{name}.key");
        self.openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", &format!("ec_paramgen_curve:{curve}"), "-out", &out]);
    }

    pub fn issue(&self, spec: &Spec) {
        let file = |ending: &str| format!("{}.{ending}", spec.name);
        let (key, csr, ext, pem) = (file("key"), file("csr"), file("ext"), file("pem"));
        std::fs::write(self.path(&ext), spec.extensions).unwrap();
        self.openssl(&["req", "-new", "-key", &key, "-subj", spec.subject, "-out", &csr, "-config", "ca.cnf"]);
        let md = if std::fs::read_to_string(self.path(&format!("{}.key", spec.issuer))).unwrap().len() > 260 { "sha384" } else { "sha256" };
        let (issuer_key, issuer_pem) = (format!("{}.key", spec.issuer), format!("{}.pem", spec.issuer));
        let mut args = vec!["ca", "-batch", "-notext", "-config", "ca.cnf", "-in", &csr, "-out", &pem, "-extfile", &ext, "-md", md];
        args.extend(["-preserveDN", "-keyfile", &issuer_key, "-startdate", spec.dates.0, "-enddate", spec.dates.1]);
        if spec.issuer == spec.name {
            args.push("-selfsign")
        } else {
            args.extend(["-cert", &issuer_pem])
        };
        self.openssl(&args);
    }

    /// Marks `name` as revoked; CRLs made from now on list it.
    pub fn revoke(&self, name: &str, reason: &str) {
        let (pem, key) = (format!("{name}.pem"), format!("{name}.key"));
        self.openssl(&[
            "ca",
            "-config",
            "ca.cnf",
            "-revoke",
            &pem,
            "-crl_reason",
            reason,
            "-keyfile",
            &key,
            "-cert",
            &pem,
            "-md",
            "sha256",
        ]);
    }

    /// A CRL by `issuer` with these CRL extensions; gives its DER.
    pub fn crl(&self, issuer: &str, extensions: &str, dates: (&str, &str)) -> Vec<u8> {
        let sections = format!("{CONFIG}[x_crl]\nauthorityKeyIdentifier=keyid\n{extensions}\n");
        self.write("crl.cnf", sections);
        let (key, pem) = (format!("{issuer}.key"), format!("{issuer}.pem"));
        let args = ["ca", "-config", "crl.cnf", "-gencrl", "-crlexts", "x_crl", "-keyfile", &key, "-cert", &pem, "-md", "sha256"];
        self.openssl(&[&args[..], &["-crl_lastupdate", dates.0, "-crl_nextupdate", dates.1, "-out", "made.crl"]].concat());
        self.openssl(&["crl", "-in", "made.crl", "-outform", "DER"]).stdout
    }

    /// A timestamping authority for [`Pki::timestamp`]: root `tsaroot`, signer `tsa`.
    pub fn timestamping_authority(&self) {
        self.root("tsaroot", "/CN=Time Root");
        self.device("tsa", "tsaroot", TIMESTAMPING);
        self.write("serial", "01\n");
        let config = "[tsa]\ndefault_tsa=t\n[t]\nserial=serial\nsigner_cert=tsa.pem\ncerts=tsaroot.pem\nsigner_key=tsa.key\nsigner_digest=sha256\n\
            default_policy=1.2.3.4\ndigests=sha256\naccuracy=secs:1\ness_cert_id_alg=sha256\ness_cert_id_chain=no\n";
        self.write("tsa.cnf", config);
    }

    /// The authority's response to a request (RFC 3161), by `openssl ts`.
    pub fn timestamp(&self, request: &[u8]) -> Vec<u8> {
        self.write("query.tsq", request);
        self.openssl(&["ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", "-out", "made.tsr"]);
        std::fs::read(self.path("made.tsr")).unwrap()
    }

    /// A device certificate for a key whose private half is elsewhere (element, token).
    pub fn device_for_key(&self, name: &str, issuer: &str, spki_der: &[u8]) {
        self.key("unused", "P-256");
        self.openssl(&["req", "-new", "-key", "unused.key", "-subj", &format!("/CN={name}"), "-out", "unused.csr", "-config", "ca.cnf"]);
        let (public, ext, out) = (format!("{name}.pub"), format!("{name}.ext"), format!("{name}.pem"));
        self.write(&public, sealwright::x509::pem::encode("PUBLIC KEY", spki_der));
        self.write(&ext, DEVICE);
        let (ca, key) = (format!("{issuer}.pem"), format!("{issuer}.key"));
        let args =
            ["x509", "-req", "-in", "unused.csr", "-force_pubkey", &public, "-CA", &ca, "-CAkey", &key, "-extfile", &ext, "-out", &out];
        self.openssl(&[&args[..], &["-days", "3650", "-sha256"]].concat());
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub fn pem(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.pem"))).unwrap()
    }

    pub fn der(&self, name: &str) -> Vec<u8> {
        self.openssl(&["x509", "-in", &format!("{name}.pem"), "-outform", "DER"]).stdout
    }

    pub fn write(&self, file: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(file), bytes).unwrap();
        self.path(file)
    }

    /// Runs openssl in the directory; it must succeed.
    pub fn openssl(&self, args: &[&str]) -> Output {
        let out = self.try_openssl(args);
        assert!(out.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        out
    }

    pub fn try_openssl(&self, args: &[&str]) -> Output {
        run(Command::new("openssl").args(args).current_dir(self.dir.path()))
    }

    /// Verdict of `openssl verify -x509_strict`.
    pub fn openssl_accepts(&self, root: &str, others: &[&str], leaf: &str) -> bool {
        let (root, leaf) = (format!("{root}.pem"), format!("{leaf}.pem"));
        let mut args = vec!["verify", "-x509_strict", "-CAfile", &root];
        self.write("untrusted.bundle", others.iter().map(|o| self.pem(o)).collect::<String>());
        if !others.is_empty() {
            args.extend(["-untrusted", "untrusted.bundle"]);
        }
        args.push(&leaf);
        self.try_openssl(&args).status.success()
    }

    /// Verdict of GnuTLS' `certtool --verify`.
    pub fn certtool_accepts(&self, root: &str, others: &[&str], leaf: &str) -> bool {
        let chain: String = std::iter::once(&leaf).chain(others).map(|n| self.pem(n)).collect();
        let chain = self.write("chain.bundle", chain);
        let root = self.path(&format!("{root}.pem"));
        let out = run(Command::new("certtool").args(["--verify", "--load-ca-certificate"]).arg(root).arg("--infile").arg(chain));
        out.status.success()
    }

    /// Verdict of Python's `cryptography` client verifier.
    pub fn cryptography_accepts(&self, root: &str, others: &[&str], leaf: &str) -> bool {
        let mut command = Command::new(python());
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges/chain.py"));
        for name in [&root, &leaf].into_iter().chain(others) {
            command.arg(self.path(&format!("{name}.pem")));
        }
        let out = run(&mut command);
        match String::from_utf8_lossy(&out.stdout).trim() {
            "good" => true,
            "bad" => false,
            _ => panic!("the judge failed: {}", String::from_utf8_lossy(&out.stderr)),
        }
    }
}

/// Interpreter of the environment that `ci/python` makes.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let out = run(&mut Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/python")));
        assert!(out.status.success(), "ci/python: {}", String::from_utf8_lossy(&out.stderr));
        PathBuf::from(String::from_utf8(out.stdout).unwrap().trim())
    })
}

pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}; run ci/packages"))
}

/// The command under test.
pub fn sealwright() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sealwright"))
}

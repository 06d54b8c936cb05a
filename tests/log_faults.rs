//! Kill, disk error and full disk at every write of a log, done to a real process by strace. The
//! mirror command is the log's writer with nothing around it.

mod logkit;

use logkit::{LogKey, entry_at, files, publish_log};
use sealwright::log::audit::{Yardstick, audit};
use sealwright::log::entry::Event;
use sealwright::log::reader::TileReader;
use sealwright::log::tiles::TileLog;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

struct Rig {
    dir: tempfile::TempDir,
    key: LogKey,
}

impl Rig {
    /// A source of 530 entries and a mirror that has the first 200 of them: the run to come
    /// completes tiles on two levels, replaces partial ones and writes state and checkpoint.
    fn new() -> Self {
        let rig = Self { dir: tempfile::tempdir().unwrap(), key: LogKey::generate() };
        let entries: Vec<_> = (0..530).map(|i| entry_at(i, None, Event::Refused("P2".into())).encode()).collect();
        publish_log(&rig.path("source"), &rig.key, &entries[..200]);
        assert!(rig.mirror(&rig.path("before"), &[]).success());
        let mut log = TileLog::load(&rig.path("source")).unwrap();
        log.append(200, &entries[200..]).unwrap();
        log.publish(&rig.key.sign(&log)).unwrap();
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn mirror(&self, target: &Path, fault: &[&str]) -> ExitStatus {
        let program = env!("CARGO_BIN_EXE_sealwright");
        let mut command = match fault {
            [] => Command::new(program),
            fault => {
                let mut strace = Command::new("strace");
                strace.args(["-qq", "-o", "/dev/null"]).args(fault).arg(program);
                strace
            }
        };
        command.args(["log", "mirror"]).arg(self.path("source")).arg(target).arg("--log-key").arg(self.key.public.to_string());
        command.output().unwrap().status
    }

    /// Injects the fault at the first, second, … call until a run meets none. After each: the
    /// log loads, the same command finishes the work, and an audit finds nothing.
    fn at_every(&self, call: &str, fault: &str) -> u32 {
        let (target, want) = (self.path("target"), self.path("want"));
        copy(&self.path("before"), &want);
        assert!(self.mirror(&want, &[]).success());
        for n in 1.. {
            copy(&self.path("before"), &target);
            let inject = format!("inject={call}:{fault}:when={n}");
            if self.mirror(&target, &["-e", &format!("trace={call}"), "-e", &inject]).success() {
                return n - 1;
            }
            drop(TileLog::load(&target).unwrap_or_else(|e| panic!("{inject}: {e}")));
            assert!(self.mirror(&target, &[]).success(), "{inject}");
            let report = audit(&TileReader::new(&target), &self.key.public, &Yardstick::default(), &mut |_| ()).unwrap();
            assert!(report.is_clean(), "{inject}: {:?}", report.findings());
            // A temporary file that a crash left beside an older partial tile may remain; it is no part of the log.
            let (mut have, want) = (files(&target), files(&want));
            have.retain(|name, _| !name.ends_with(".new") && (want.contains_key(name) || !name.contains(".p/")));
            assert!(have == want, "{inject}");
        }
        unreachable!()
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    for (name, bytes) in files(from) {
        std::fs::create_dir_all(to.join(&name).parent().unwrap()).unwrap();
        std::fs::write(to.join(name), bytes).unwrap();
    }
}

#[test]
fn a_kill_at_any_sync_rename_or_write_leaves_a_log_that_goes_on() {
    let rig = Rig::new();
    for call in ["fsync", "rename", "write"] {
        let kills = rig.at_every(call, "signal=KILL");
        assert!(kills >= 8, "{call}: only {kills}");
    }
}

#[test]
fn a_disk_error_at_any_sync_and_a_full_disk_at_any_write_stop_the_writer_and_nothing_is_lost() {
    let rig = Rig::new();
    assert!(rig.at_every("fsync", "error=EIO") >= 16);
    assert!(rig.at_every("write", "error=ENOSPC") >= 8);
}

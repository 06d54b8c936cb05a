//! Looking at a store, whether or not a daemon works on it: check, search, online backup.
//!
//! Readers never block the writer (WAL). The backup is one read transaction, so it is the store
//! as it was at one moment; the write-ahead log grows meanwhile and no longer.

use super::schema::{FAILED, FORMAT, ISSUED, PENDING};
use super::sqlite::{FILE, connect, serial};
use super::{Filter, Found, StoreError};
use crate::durable;
use crate::types::Fingerprint;
use crate::x509::keys;
use der::{Decode, Encode};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, Row, params_from_iter, types::Value};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use x509_cert::Certificate;

/// Most complaints that one check lists.
const MAX_COMPLAINTS: usize = 100;

/// A store opened for reading only; never creates, never repairs.
pub struct Inspection {
    connection: Connection,
    path: PathBuf,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Certificates read and compared with their intents.
    pub certificates: u64,
    /// Intents in any state.
    pub intents: u64,
    /// Everything that is wrong, at most 100; empty when the store is sound.
    pub complaints: Vec<String>,
}

impl Inspection {
    /// Opens the store in `directory`; refuses another format.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found != FORMAT {
            return Err(StoreError::Version { found, expected: FORMAT });
        }
        Ok(Self { connection, path })
    }

    /// Number of intents, for a progress bar.
    pub fn intents(&self) -> Result<u64, StoreError> {
        Ok(self.connection.query_row("SELECT count(*) FROM intents", [], |r| r.get::<_, i64>(0))? as u64)
    }

    /// Reads everything: SQLite's own integrity check, then that states and certificates belong
    /// together, then each certificate against its intent (TBS, serial number, key). `step` is
    /// called for every intent.
    pub fn check(&self, mut step: impl FnMut()) -> Result<Checked, StoreError> {
        let mut checked = Checked::default();
        let mut statement = self.connection.prepare("PRAGMA integrity_check(20)")?;
        let words: Vec<String> = statement.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?;
        checked.complaints.extend(words.into_iter().filter(|w| w != "ok"));
        for (sql, what) in [
            (
                "SELECT count(*) FROM intents i LEFT JOIN certificates c ON c.intent = i.id WHERE i.state = 1 AND c.intent IS NULL",
                "issued intents lack their certificate",
            ),
            (
                "SELECT count(*) FROM certificates c LEFT JOIN intents i ON c.intent = i.id WHERE i.state IS NOT 1",
                "certificates have no issued intent",
            ),
            ("SELECT count(*) - count(DISTINCT leaf) FROM certificates", "certificates share a log entry"),
            (
                "SELECT (SELECT value FROM totals WHERE name = 'next leaf') - (SELECT count(*) FROM private)",
                "log entries lack their metadata",
            ),
        ] {
            let count: i64 = self.connection.query_row(sql, [], |r| r.get(0))?;
            if count != 0 {
                checked.complaints.push(format!("{count} {what}"));
            }
        }
        let mut statement = self
            .connection
            .prepare("SELECT i.serial, i.tbs, i.key, c.der FROM intents i LEFT JOIN certificates c ON c.intent = i.id ORDER BY i.id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            step();
            checked.intents += 1;
            let Some(der) = row.get::<_, Option<Vec<u8>>>(3)? else { continue };
            checked.certificates += 1;
            if let Err(reason) = compare(row, &der)
                && checked.complaints.len() < MAX_COMPLAINTS
            {
                checked.complaints.push(format!("certificate {}: {reason}", serial(row, 0)?));
            }
        }
        Ok(checked)
    }

    /// Hands over everything that `filter` selects, oldest first, one at a time.
    pub fn each(&self, filter: &Filter, mut take: impl FnMut(Found) -> std::io::Result<()>) -> Result<u64, StoreError> {
        let (conditions, values) = conditions(filter);
        let sql = format!(
            "SELECT i.serial, i.request, i.device, i.profile, i.key, i.role, i.uid, i.created, i.state, c.der, c.leaf
             FROM intents i LEFT JOIN certificates c ON c.intent = i.id WHERE {conditions} ORDER BY i.id"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            take(found(row)?).map_err(|e| StoreError::Failed(e.to_string()))?;
            count += 1;
        }
        Ok(count)
    }

    /// Copies the store as it is at this moment into `directory`, which gets a new file (K4), and
    /// syncs it. A daemon may go on working.
    pub fn backup(&self, directory: &Path) -> Result<u64, StoreError> {
        let target = directory.join(FILE);
        if target == self.path {
            return Err(StoreError::Failed("the backup would overwrite the store; choose another directory".into()));
        }
        let failed = |e: std::io::Error| StoreError::Failed(format!("{}: {e}", target.display()));
        durable::create_directories(directory).map_err(failed)?;
        durable::create_new(&target, b"", 0o600).map_err(failed)?;
        let mut copy = Connection::open_with_flags(&target, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        let backup = Backup::new(&self.connection, &mut copy)?;
        // All at once: a copy in pieces would begin anew with every write of the daemon.
        if backup.step(-1)? != StepResult::Done {
            return Err(StoreError::Failed("the store is busy; try again".into()));
        }
        drop(backup);
        drop(copy);
        std::fs::metadata(&target).map(|m| m.len()).map_err(failed)
    }
}

fn compare(row: &Row<'_>, der: &[u8]) -> Result<(), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let certificate = Certificate::from_der(der).map_err(|e| text(&e))?;
    let tbs = certificate.tbs_certificate();
    let (serial, planned, key): ([u8; 20], [u8; 32], [u8; 32]) =
        (row.get(0).map_err(|e| text(&e))?, row.get(1).map_err(|e| text(&e))?, row.get(2).map_err(|e| text(&e))?);
    if tbs.serial_number().as_bytes() != serial {
        return Err("it holds another serial number".into());
    }
    if <[u8; 32]>::from(Sha256::digest(tbs.to_der().map_err(|e| text(&e))?)) != planned {
        return Err("it is not what its intent announced".into());
    }
    if *Fingerprint::of_spki(&keys::of_certificate(der).map_err(|e| text(&e))?).as_bytes() != key {
        return Err("it holds another key".into());
    }
    Ok(())
}

/// WHERE clause and its values; values never become part of the text.
fn conditions(filter: &Filter) -> (String, Vec<Value>) {
    let Filter { device, key, serial, profile, since_ms, until_ms } = filter;
    let mut parts = vec!["1".to_owned()];
    let mut values = Vec::new();
    let mut add = |column: &str, value: Option<Value>| {
        if let Some(value) = value {
            values.push(value);
            parts.push(format!("{column} ?{}", values.len()));
        }
    };
    add("i.device =", device.clone().map(Value::Text));
    add("i.key =", key.map(|k| Value::Blob(k.as_bytes().to_vec())));
    add("i.serial =", serial.map(|s| Value::Blob(s.as_bytes().to_vec())));
    add("i.profile =", profile.as_ref().map(|p| Value::Text(p.to_string())));
    add("i.created >=", since_ms.map(Value::Integer));
    add("i.created <", until_ms.map(Value::Integer));
    (parts.join(" AND "), values)
}

fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    let key: [u8; 32] = row.get(4)?;
    let state = match row.get::<_, i64>(8)? {
        PENDING => "pending",
        ISSUED => "issued",
        FAILED => "failed",
        _ => "unknown",
    };
    Ok(Found {
        serial: serial(row, 0)?,
        request: row.get(1)?,
        device: row.get(2)?,
        profile: row.get(3)?,
        key: hex::encode(key),
        role: row.get(5)?,
        uid: row.get(6)?,
        created_ms: row.get(7)?,
        state,
        certificate: row.get(9)?,
        leaf: row.get::<_, Option<i64>>(10)?.map(|l| l as u64),
    })
}

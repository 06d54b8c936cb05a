//! SQLite behind the store: WAL, `synchronous=FULL`, one writer, many readers.

use super::schema::{CREATE, FAILED, FORMAT, ISSUED, PENDING, UNKNOWN};
use super::{Begun, Conflict, Intent, Leaf, Operation, Outcome, Record, Recovered, Rules, StoreError, Unresolved};
use crate::policy::profile::Reuse;
use crate::types::{Fingerprint, RequestId, Serial};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub(super) const FILE: &str = "sealwright.sqlite3";
const LOCK: &str = "sealwright.lock";

impl From<rusqlite::Error> for StoreError {
    fn from(e: rusqlite::Error) -> Self {
        Self::Failed(e.to_string())
    }
}

fn failed(e: impl ToString) -> StoreError {
    StoreError::Failed(e.to_string())
}

/// Makes the database; fails when there is one.
pub(super) fn create(directory: &Path) -> Result<(), StoreError> {
    let path = directory.join(FILE);
    let fresh = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    fresh.map_err(|e| StoreError::Failed(format!("{}: {e}", path.display())))?;
    let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(CREATE)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()?;
    Ok(())
}

pub(super) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|e| StoreError::Failed(format!("{}: {e}", path.display())))?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(32);
    if flags.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "cache_size", -32_768)?;
    }
    Ok(connection)
}

/// What [`Writer::apply`] did for one operation.
pub(super) enum Applied {
    Begun(Result<Begun, StoreError>),
    Index(Result<u64, StoreError>),
}

/// The one connection that writes, and the lock that makes it the one.
pub(super) struct Writer {
    path: PathBuf,
    connection: Option<Connection>,
    recovered: Recovered,
    _lock: File,
}

impl Writer {
    pub(super) fn open(directory: &Path, recovered: Recovered) -> Result<Self, StoreError> {
        let lock_path = directory.join(LOCK);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(|e| StoreError::Failed(format!("{}: {e}", lock_path.display())))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| StoreError::Locked(directory.display().to_string()))?;
        let mut writer = Self { path: directory.join(FILE), connection: None, recovered, _lock: lock };
        writer.recover()?;
        Ok(writer)
    }

    /// Drops a connection that failed; the next transaction opens from disk.
    pub(super) fn discard(&mut self) {
        self.connection = None;
    }

    /// Opens from disk, checks, and marks what was pending as unknown: what a crash, or a
    /// failed commit, left behind may have been signed. Never signed again silently.
    fn recover(&mut self) -> Result<(), StoreError> {
        let connection = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found != FORMAT {
            return Err(StoreError::Version { found, expected: FORMAT });
        }
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(StoreError::Corrupt(verdict));
        }
        let recovered: Vec<Serial> = connection
            .prepare("UPDATE intents SET state = ?1 WHERE state = ?2 RETURNING serial")?
            .query_map(params![UNKNOWN, PENDING], |row| serial(row, 0))?
            .collect::<Result<_, _>>()?;
        if !recovered.is_empty() {
            tracing::warn!(intents = recovered.len(), "intents without a certificate found; see 'sealwright status'");
            self.recovered.lock().unwrap_or_else(PoisonError::into_inner).extend(recovered);
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Applies a batch in one transaction; on `Err` none of it may be relied on.
    pub(super) fn apply(&mut self, batch: &[Operation]) -> Result<Vec<Applied>, StoreError> {
        if self.connection.is_none() {
            self.recover()?;
        }
        let connection = self.connection.as_mut().ok_or_else(|| StoreError::Failed("not open".into()))?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let results = batch.iter().map(|operation| apply_one(&transaction, operation)).collect::<Result<_, _>>()?;
        transaction.commit()?;
        Ok(results)
    }
}

fn apply_one(tx: &Transaction<'_>, operation: &Operation) -> Result<Applied, StoreError> {
    Ok(match operation {
        Operation::Begin(intent, rules, _) => Applied::Begun(Ok(begin(tx, intent, *rules)?)),
        Operation::End { serial, outcome, leaf, .. } => Applied::Index(end(tx, serial, outcome, leaf)?),
        Operation::Note { leaves, .. } => Applied::Index(Ok(append(tx, leaves)?)),
        Operation::Prune { below, .. } => {
            tx.prepare_cached("DELETE FROM log WHERE leaf < ?1")?.execute([*below as i64])?;
            Applied::Index(Ok(*below))
        }
    })
}

fn begin(tx: &Transaction<'_>, intent: &Intent, rules: Rules) -> Result<Begun, StoreError> {
    if let Some(answer) = same_request(tx, intent)? {
        return Ok(answer);
    }
    if let Some(conflict) = uniqueness(tx, intent, rules)? {
        return Ok(Begun::Conflict(conflict));
    }
    let name = format!("profile {}", intent.profile);
    if let Some(conflict) = quota(tx, intent, rules, &name)? {
        return Ok(Begun::Conflict(conflict));
    }
    tx.prepare_cached("INSERT INTO totals VALUES(?1, 1) ON CONFLICT(name) DO UPDATE SET value = value + 1")?.execute([&name])?;
    tx.prepare_cached(
        "INSERT INTO intents(serial, request, csr, profile, policy, device, key, role, uid, tbs, created)
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        intent.serial.as_bytes(),
        intent.request.as_str(),
        intent.csr_sha256,
        intent.profile.as_str(),
        intent.policy,
        intent.device,
        intent.key.as_bytes(),
        intent.role,
        intent.uid,
        intent.tbs_sha256,
        intent.created_ms,
    ])?;
    Ok(Begun::New)
}

/// Same id and request: the same bytes. Same id, other request: refused, also when the earlier
/// one came to nothing.
fn same_request(tx: &Transaction<'_>, intent: &Intent) -> Result<Option<Begun>, StoreError> {
    const LIVE: &str = "SELECT csr, role, state FROM intents WHERE request = ?1 AND state IN (0, 1)";
    const DEAD: &str = "SELECT csr, role, state FROM intents WHERE request = ?1 AND state > 1 ORDER BY id DESC LIMIT 1";
    for sql in [LIVE, DEAD] {
        let found = tx
            .prepare_cached(sql)?
            .query_row([intent.request.as_str()], |r| Ok((r.get::<_, [u8; 32]>(0)?, r.get::<_, String>(1)?, r.get::<_, i64>(2)?)))
            .optional()?;
        let Some((csr, role, state)) = found else { continue };
        if csr != intent.csr_sha256 || role != intent.role {
            return Ok(Some(Begun::Conflict(Conflict::RequestReused)));
        }
        return Ok(match state {
            ISSUED => by_request(tx, &intent.request)?.map(Begun::Replay),
            PENDING => Some(Begun::Conflict(Conflict::InProgress)),
            _ => None,
        });
    }
    Ok(None)
}

/// Devices are unique within a profile, so that one device can have several kinds of
/// certificate; keys are unique across profiles, since two devices with one key are a clone.
fn uniqueness(tx: &Transaction<'_>, intent: &Intent, rules: Rules) -> Result<Option<Conflict>, StoreError> {
    let profile = intent.profile.as_str();
    if rules.device == Reuse::Refuse {
        let known = tx
            .prepare_cached("SELECT serial FROM intents WHERE device = ?1 AND profile = ?2 AND state IN (0, 1) LIMIT 1")?
            .query_row(params![intent.device, profile], |r| serial(r, 0))
            .optional()?;
        if let Some(serial) = known {
            return Ok(Some(Conflict::DeviceKnown(serial)));
        }
    }
    if rules.key == Reuse::Allow {
        return Ok(None);
    }
    let same_profile = if rules.key == Reuse::Refuse { profile } else { "" };
    let known = tx
        .prepare_cached("SELECT serial, device FROM intents WHERE key = ?1 AND (device <> ?2 OR profile = ?3) AND state IN (0, 1) LIMIT 1")?
        .query_row(params![intent.key.as_bytes(), intent.device, same_profile], |r| Ok((serial(r, 0)?, r.get(1)?)))
        .optional()?;
    Ok(known.map(|(serial, device)| Conflict::KeyKnown(serial, device)))
}

/// Every intent counts but those of which the token said that it did not sign: a quota is never
/// exceeded by retrying, nor used up while the token is away.
fn quota(tx: &Transaction<'_>, intent: &Intent, rules: Rules, name: &str) -> Result<Option<Conflict>, StoreError> {
    if let Some(limit) = rules.quota.total {
        let used: Option<i64> =
            tx.prepare_cached("SELECT value FROM totals WHERE name = ?1")?.query_row([name], |r| r.get(0)).optional()?;
        if used.unwrap_or(0) as u64 >= limit {
            return Ok(Some(Conflict::QuotaExhausted(limit)));
        }
    }
    if let Some(limit) = rules.quota.per_device {
        let used: i64 = tx
            .prepare_cached("SELECT count(*) FROM intents WHERE device = ?1 AND profile = ?2 AND state <> 2")?
            .query_row(params![intent.device, intent.profile.as_str()], |r| r.get(0))?;
        if used as u64 >= limit {
            return Ok(Some(Conflict::DeviceQuotaExhausted(limit)));
        }
    }
    Ok(None)
}

fn end(tx: &Transaction<'_>, serial: &Serial, outcome: &Outcome, leaf: &Leaf) -> Result<Result<u64, StoreError>, StoreError> {
    let state = match outcome {
        Outcome::Issued(_) => ISSUED,
        Outcome::Failed => FAILED,
        Outcome::Unknown => UNKNOWN,
    };
    let ended: Option<(i64, String)> = tx
        .prepare_cached("UPDATE intents SET state = ?1 WHERE serial = ?2 AND state = 0 RETURNING id, profile")?
        .query_row(params![state, serial.as_bytes()], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    let Some((id, profile)) = ended else { return Ok(Err(StoreError::NotPending(serial.to_string()))) };
    let leaf = append(tx, std::slice::from_ref(leaf))?;
    if state == FAILED {
        tx.prepare_cached("UPDATE totals SET value = value - 1 WHERE name = ?1")?.execute([format!("profile {profile}")])?;
    }
    if let Outcome::Issued(der) = outcome {
        tx.prepare_cached("INSERT INTO certificates VALUES(?1, ?2, ?3)")?.execute(params![id, der, leaf as i64])?;
        tx.prepare_cached("UPDATE totals SET value = value + 1 WHERE name = 'certificates'")?.execute([])?;
    }
    Ok(Ok(leaf))
}

fn append(tx: &Transaction<'_>, leaves: &[Leaf]) -> Result<u64, StoreError> {
    let first: i64 = tx
        .prepare_cached("UPDATE totals SET value = value + ?1 WHERE name = 'next leaf' RETURNING value - ?1")?
        .query_row([leaves.len() as i64], |r| r.get(0))?;
    let mut log = tx.prepare_cached("INSERT INTO log VALUES(?1, ?2)")?;
    let mut private = tx.prepare_cached("INSERT INTO private VALUES(?1, ?2, ?3)")?;
    for (index, leaf) in (first..).zip(leaves) {
        log.execute(params![index, leaf.entry])?;
        private.execute(params![index, leaf.salt, leaf.metadata])?;
    }
    Ok(first as u64)
}

pub(super) fn serial(row: &Row<'_>, column: usize) -> rusqlite::Result<Serial> {
    let bytes: [u8; 20] = row.get(column)?;
    Serial::from_bytes(bytes).map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, Box::new(e)))
}

const RECORD: &str =
    "SELECT i.serial, c.der, c.leaf, i.device, i.profile, i.csr, i.role FROM intents i JOIN certificates c ON c.intent = i.id WHERE ";

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let leaf: i64 = row.get(2)?;
    Ok(Record {
        serial: serial(row, 0)?,
        certificate: row.get(1)?,
        leaf: leaf as u64,
        device: row.get(3)?,
        profile: row.get(4)?,
        csr_sha256: row.get(5)?,
        role: row.get(6)?,
    })
}

fn by_request(connection: &Connection, request: &RequestId) -> Result<Option<Record>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{RECORD} i.request = ?1 AND i.state IN (0, 1)"))?;
    Ok(statement.query_row([request.as_str()], record).optional()?)
}

/// Read-only connections, one per concurrent reader, kept for the next.
pub struct Reader {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Reader {
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        Ok(Self { path: directory.join(FILE), idle: Mutex::new(Vec::new()) })
    }

    /// The certificate that answered `request`.
    pub fn by_request(&self, request: &RequestId) -> Result<Option<Record>, StoreError> {
        self.with(|c| by_request(c, request))
    }

    /// The certificate with this serial.
    pub fn by_serial(&self, serial: &Serial) -> Result<Option<Record>, StoreError> {
        self.with(|c| {
            let mut statement = c.prepare_cached(&format!("{RECORD} i.serial = ?1"))?;
            Ok(statement.query_row([serial.as_bytes()], record).optional()?)
        })
    }

    /// The newest certificates of a device (canonical identity), at most `limit`.
    pub fn by_device(&self, device: &str, limit: u32) -> Result<Vec<Record>, StoreError> {
        self.with(|c| {
            let mut statement = c.prepare_cached(&format!("{RECORD} i.device = ?1 ORDER BY i.id DESC LIMIT ?2"))?;
            Ok(statement.query_map(params![device, limit], record)?.collect::<Result<_, _>>()?)
        })
    }

    /// The newest certificates of a key, at most `limit`.
    pub fn by_key(&self, key: &Fingerprint, limit: u32) -> Result<Vec<Record>, StoreError> {
        self.with(|c| {
            let mut statement = c.prepare_cached(&format!("{RECORD} i.key = ?1 ORDER BY i.id DESC LIMIT ?2"))?;
            Ok(statement.query_map(params![key.as_bytes(), limit], record)?.collect::<Result<_, _>>()?)
        })
    }

    /// Intents whose signature may or may not exist, oldest first, at most `limit`.
    pub fn unresolved(&self, limit: u32) -> Result<Vec<Unresolved>, StoreError> {
        self.with(|c| {
            let mut statement =
                c.prepare_cached("SELECT serial, request, device, created FROM intents WHERE state = ?1 ORDER BY id LIMIT ?2")?;
            let row = |r: &Row<'_>| Ok(Unresolved { serial: serial(r, 0)?, request: r.get(1)?, device: r.get(2)?, created_ms: r.get(3)? });
            Ok(statement.query_map(params![UNKNOWN, limit], row)?.collect::<Result<_, _>>()?)
        })
    }

    /// Log entries from `first` on that are not pruned, at most `limit`, in order.
    pub fn log_entries(&self, first: u64, limit: u32) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.with(|c| {
            let mut statement = c.prepare_cached("SELECT leaf, entry FROM log WHERE leaf >= ?1 ORDER BY leaf LIMIT ?2")?;
            let row = |r: &Row<'_>| Ok((r.get::<_, i64>(0)? as u64, r.get(1)?));
            Ok(statement.query_map(params![first as i64, limit], row)?.collect::<Result<_, _>>()?)
        })
    }

    /// Number of log entries ever appended.
    pub fn log_size(&self) -> Result<u64, StoreError> {
        self.total("next leaf")
    }

    /// Number of certificates; counted as they come, so that asking costs the same at any size.
    pub fn count(&self) -> Result<u64, StoreError> {
        self.total("certificates")
    }

    fn total(&self, name: &str) -> Result<u64, StoreError> {
        self.with(|c| Ok(c.query_row("SELECT value FROM totals WHERE name = ?1", [name], |r| r.get::<_, i64>(0))? as u64))
    }

    fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match kept {
            Some(connection) => connection,
            None => connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?,
        };
        let result = read(&connection);
        if result.is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        result
    }
}

//! The database format.

/// Version in `PRAGMA user_version`.
pub(super) const FORMAT: i64 = 1;

/// States of an intent.
pub(super) const PENDING: i64 = 0;
pub(super) const ISSUED: i64 = 1;
pub(super) const FAILED: i64 = 2;
pub(super) const UNKNOWN: i64 = 3;

/// Tables of format 1. `one_answer` is invariant I2 as a constraint: a request has at most one
/// intent that is pending or issued. `log` holds entries until they are published; `private`
/// keeps what their salted hashes commit to.
pub(super) const CREATE: &str = "
CREATE TABLE intents(
    id INTEGER PRIMARY KEY,
    serial BLOB NOT NULL UNIQUE CHECK(length(serial) = 20),
    request TEXT NOT NULL,
    csr BLOB NOT NULL CHECK(length(csr) = 32),
    profile TEXT NOT NULL,
    policy BLOB NOT NULL CHECK(length(policy) = 32),
    device TEXT NOT NULL,
    key BLOB NOT NULL CHECK(length(key) = 32),
    role TEXT NOT NULL,
    uid INTEGER NOT NULL,
    tbs BLOB NOT NULL CHECK(length(tbs) = 32),
    created INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0 CHECK(state BETWEEN 0 AND 3)
) STRICT;
CREATE UNIQUE INDEX one_answer ON intents(request) WHERE state IN (0, 1);
CREATE INDEX not_issued ON intents(request, id) WHERE state > 1;
CREATE INDEX pending ON intents(id) WHERE state = 0;
CREATE INDEX by_device ON intents(device);
CREATE INDEX by_key ON intents(key);
CREATE TABLE certificates(
    intent INTEGER PRIMARY KEY REFERENCES intents(id),
    der BLOB NOT NULL,
    leaf INTEGER NOT NULL
) STRICT;
CREATE TABLE log(leaf INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;
CREATE TABLE private(leaf INTEGER PRIMARY KEY, salt BLOB NOT NULL CHECK(length(salt) = 32), metadata TEXT NOT NULL) STRICT;
CREATE TABLE totals(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO totals VALUES('next leaf', 0), ('certificates', 0);
";

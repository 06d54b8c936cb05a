#!/usr/bin/env python3
"""Judges what a stopped or killed daemon left behind: store, log, and the record that pkcs11-spy
kept of every digest signed. Knows the formats only; shares no code with the program.

    store.py STORE LOG SPY ACKNOWLEDGED OLDER

ACKNOWLEDGED is JSON, {"certificates": [{request, serial, der, leaf}...], "refused": n}: what callers
were told. OLDER is a directory of checkpoints that were seen published. The store is read from a
copy: opening it would repair it.
"""
import base64, hashlib, json, os, re, shutil, sqlite3, sys, tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from log_verify import leaf, tile, widths

PENDING, ISSUED, FAILED, UNKNOWN = range(4)
ISSUE, REFUSE = 1, 2


def sha(data):
    return hashlib.sha256(data).digest()


def roots(hashes):
    """Root of every prefix tree (RFC 6962 section 2.1), by size."""
    out, peaks = [sha(b"")], []
    for h in hashes:
        peaks.append((1, h))
        while len(peaks) > 1 and peaks[-1][0] == peaks[-2][0]:
            (n, right), (m, left) = peaks.pop(), peaks.pop()
            peaks.append((n + m, sha(b"\x01" + left + right)))
        root = peaks[-1][1]
        for _, left in reversed(peaks[:-1]):
            root = sha(b"\x01" + left + root)
        out.append(root)
    return out


def published(log):
    header, origin, size, root = open(log + "/state").read().rstrip("\n").split("\n")
    assert header == "sealwright log state v1"
    entries = []
    for n, width in widths(int(size)):
        bundle = tile(log, "entries", n, width)
        while bundle:
            length = int.from_bytes(bundle[:2], "big")
            entries.append(bundle[2:2 + length])
            bundle = bundle[2 + length:]
    assert len(entries) == int(size)
    return origin, entries, base64.b64decode(root)


def signed_digests(spy):
    """Data of every C_Sign that returned a signature; the last record may be cut."""
    digests = []
    for record in re.split(r"\n(?=\d+: C_)", open(spy, errors="replace").read()):
        if not re.match(r"\d+: C_Sign\n", record) or "pSignature[*pulSignatureLen] NULL" in record:
            continue
        given = record.split("[out]")[0]
        digests.append(bytes.fromhex("".join(re.findall(r"^    [0-9A-F]{8}  ((?:[0-9A-F]{2} )+)", given, re.M))))
    return digests


def element(der, at):
    """Start of content and end of one DER element."""
    length, begin = der[at + 1], at + 2
    if length >= 0x80:
        count = length & 0x7F
        length, begin = int.from_bytes(der[begin:begin + count], "big"), begin + count
    return begin, begin + length


def tbs_and_serial(der):
    begin, end = element(der, 0)
    assert end == len(der)
    inner, tbs_end = element(der, begin)
    _, version_end = element(der, inner)
    number, number_end = element(der, version_end)
    return der[begin:tbs_end], der[number:number_end]


def fields(entry):
    """kind, commitment, policy, body of a log entry of version 1."""
    assert entry[0] == 1
    policy = 43 + entry[42]
    length = int.from_bytes(entry[policy:policy + 2], "big")
    assert len(entry) == policy + 2 + length
    return entry[1], entry[10:42], entry[43:policy], entry[policy + 2:]


def read_store(directory):
    with tempfile.TemporaryDirectory() as copy:
        for name in os.listdir(directory):
            if not name.endswith("-shm"):
                shutil.copy(os.path.join(directory, name), copy)
        db = sqlite3.connect(copy + "/sealwright.sqlite3")
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        intents = db.execute("SELECT id, serial, request, tbs, policy, state FROM intents").fetchall()
        certificates = db.execute("SELECT intent, der, leaf FROM certificates").fetchall()
        waiting = dict(db.execute("SELECT leaf, entry FROM log").fetchall())
        private = db.execute("SELECT leaf, salt, metadata FROM private").fetchall()
        total = db.execute("SELECT value FROM totals WHERE name = 'next leaf'").fetchone()[0]
        db.close()
    return intents, certificates, waiting, private, total


def main(store, log, spy, acknowledged, older):
    intents, certificates, waiting, private, total = read_store(store)
    origin, entries, root = published(log)
    for index in sorted(waiting):
        if index < len(entries):
            assert entries[index] == waiting[index], "a published entry differs from the store's"
        else:
            assert index == len(entries), "a hole in the log"
            entries.append(waiting[index])
    assert len(entries) == total, "log entries are lost"
    hashes = list(map(leaf, entries))
    prefixes = roots(hashes)
    assert root in prefixes

    digests = signed_digests(spy)
    intended = {tbs for _, _, _, tbs, _, _ in intents}
    checkpoints = {sha(("%s\n%d\n%s\n" % (origin, size, base64.b64encode(r).decode())).encode()) for size, r in enumerate(prefixes)}
    for digest in digests:
        assert digest in intended or digest in checkpoints, "I1: signed without an intent, or I4: a checkpoint of another tree"

    by_id = {i[0]: i for i in intents}
    answered, serials = set(), set()
    for intent, der, index in certificates:
        _, serial, request, tbs, policy, state = by_id[intent]
        assert state == ISSUED and request not in answered and serial not in serials, "I2"
        answered.add(request), serials.add(serial)
        body, number = tbs_and_serial(der)
        assert sha(body) == tbs and number == serial, "I1: another certificate than intended"
        kind, _, in_force, logged = fields(entries[index])
        assert kind == ISSUE and logged == der and in_force == policy, "A1: the log tells otherwise"
        assert tbs in digests, "the spy did not see this signature: the judge is blind"
    assert len(certificates) == sum(i[5] == ISSUED for i in intents)
    kinds = [fields(e)[0] for e in entries]
    assert kinds.count(ISSUE) == len(certificates), "I2: the log tells of a certificate that is not in the store"
    for index, salt, metadata in private:
        assert fields(entries[index])[1] == sha(b"sealwright metadata v1\n" + salt + metadata.encode()), "metadata"
    assert len(private) == total

    told = json.load(open(acknowledged))
    stored = {by_id[intent][1]: (by_id[intent][2], der, index) for intent, der, index in certificates}
    for told_one in told["certificates"]:
        want = (told_one["request"], bytes.fromhex(told_one["der"]), told_one["leaf"])
        assert stored.get(bytes.fromhex(told_one["serial"])) == want, "I3: an acknowledged certificate is lost or changed"
    assert kinds.count(REFUSE) >= told["refused"], "I6: a refusal is not in the log"
    seen = sorted(os.listdir(older))
    for name in seen:
        at, size, then = open(os.path.join(older, name), "rb").read().decode().split("\n")[:3]
        assert at == origin and prefixes[int(size)] == base64.b64decode(then), "I4"
    states = [i[5] for i in intents]
    print(json.dumps({
        "certificates": len(certificates), "entries": total, "signed": len(digests), "checkpoints": len(seen),
        "acknowledged": len(told["certificates"]), "unknown": states.count(UNKNOWN), "pending": states.count(PENDING),
    }))


if __name__ == "__main__":
    main(*sys.argv[1:])

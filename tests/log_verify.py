#!/usr/bin/env python3
"""Verifies a log directory, and a proof, from the C2SP texts alone (tlog-tiles, tlog-checkpoint,
signed-note, tlog-proof). Shares no code with the program; signatures are checked by openssl.

    log_verify.py DIR VKEY             every entry, tile and the signed root
    log_verify.py DIR VKEY PROOF CERT  a .tlog-proof for a DER certificate too
"""
import base64, hashlib, os, subprocess, sys, tempfile


def sha(data):
    return hashlib.sha256(data).digest()


def leaf(entry):
    return sha(b"\x00" + entry)


def mth(hashes):  # RFC 6962 section 2.1, the definition
    if not hashes:
        return sha(b"")
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha(b"\x01" + mth(hashes[:k]) + mth(hashes[k:]))


def open_note(data, vkey):
    name, key_id, blob = vkey.split("+", 2)
    blob = base64.b64decode(blob, validate=True)
    assert blob[0] == 2, "an ECDSA key"
    spki = blob[1:]
    assert sha(spki)[:4].hex() == key_id
    text, _, signatures = data.decode().rpartition("\n\n")
    text += "\n"
    good = 0
    for line in signatures.rstrip("\n").split("\n"):
        dash, who, encoded = line.split(" ")
        signature = base64.b64decode(encoded, validate=True)
        assert dash == "\u2014"
        if who != name or signature[:4].hex() != key_id:
            continue
        with tempfile.TemporaryDirectory() as d:
            for file, content in [("k", spki), ("s", signature[4:]), ("t", text.encode())]:
                open(os.path.join(d, file), "wb").write(content)
            subprocess.run(["openssl", "pkey", "-pubin", "-inform", "DER", "-in", d + "/k", "-out", d + "/k.pem"], check=True)
            command = ["openssl", "dgst", "-sha256", "-verify", d + "/k.pem", "-signature", d + "/s", d + "/t"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        good += 1
    assert good, "no signature by the key"
    origin, size, root = text.rstrip("\n").split("\n")
    assert origin == name
    return int(size), base64.b64decode(root, validate=True)


def number(n):
    parts = ["%03d" % (n % 1000)]
    while n >= 1000:
        n //= 1000
        parts.insert(0, "x%03d" % (n % 1000))
    return "/".join(parts)


def tile(directory, level, n, width):
    path = "%s/tile/%s/%s" % (directory, level, number(n))
    with open(path if width == 256 else "%s.p/%d" % (path, width), "rb") as f:
        return f.read()


def widths(count):
    return [(n, min(256, count - 256 * n)) for n in range((count + 255) // 256)]


def verify_directory(directory, vkey):
    size, root = open_note(open(directory + "/checkpoint", "rb").read(), vkey)
    hashes = []
    for n, width in widths(size):
        bundle, entries = tile(directory, "entries", n, width), []
        while bundle:
            length = int.from_bytes(bundle[:2], "big")
            assert len(bundle) >= 2 + length
            entries.append(bundle[2:2 + length])
            bundle = bundle[2 + length:]
        assert len(entries) == width
        hashes += map(leaf, entries)
    assert mth(hashes) == root, "root"
    level = 0
    while hashes:
        for n, width in widths(len(hashes)):
            assert tile(directory, level, n, width) == b"".join(hashes[256 * n:256 * n + width]), (level, n)
        hashes = [mth(hashes[256 * n:256 * n + 256]) for n in range(len(hashes) // 256)]
        level += 1
    return size


def verify_proof(proof, certificate, vkey):
    head, _, note = proof.decode().partition("\n\n")
    lines = head.split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1].startswith("extra ") and lines[2].startswith("index ")
    header, index = base64.b64decode(lines[1][6:], validate=True), int(lines[2][6:])
    path = [base64.b64decode(l, validate=True) for l in lines[3:]]
    size, root = open_note(note.encode(), vkey)
    r = leaf(header + len(certificate).to_bytes(2, "big") + certificate)
    f, s = index, size - 1  # RFC 9162 section 2.1.3.2
    assert f <= s
    for p in path:
        assert s != 0
        if f % 2 == 1 or f == s:
            r = sha(b"\x01" + p + r)
            while f % 2 == 0 and f != 0:
                f, s = f // 2, s // 2
        else:
            r = sha(b"\x01" + r + p)
        f, s = f // 2, s // 2
    assert s == 0 and r == root
    return index


if __name__ == "__main__":
    print("entries", verify_directory(sys.argv[1], sys.argv[2]))
    if len(sys.argv) > 3:
        print("proved", verify_proof(open(sys.argv[3], "rb").read(), open(sys.argv[4], "rb").read(), sys.argv[2]))

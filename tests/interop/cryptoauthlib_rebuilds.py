"""The vendor's library (PyPI package cryptoauthlib, unmodified) rebuilds certificates that sealwright compressed.

Usage: cryptoauthlib_rebuilds.py SEALWRIGHT CONFIGURATION_HEX CHIP_PROFILE COUNT [VECTORS]
For each certificate: a key made in the emulated chip, a certificate by the Python package cryptography, compressed
by sealwright, written to the chip and rebuilt by atcacert_read_cert; the library's own compression must agree too.
With VECTORS, the first ten are written there as data.
"""

import ctypes
import datetime
import json
import os
import subprocess
import sys
import tempfile

import cryptoauthlib as cal
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from cryptoauthlib import atcacert

import cryptoauthlib_drives as drives

START = datetime.datetime(2026, 11, 24, 22, tzinfo=datetime.timezone.utc)


def issue(ca, public, number, years):
    x, y = (int.from_bytes(public[i : i + 32], "big") for i in (0, 32))
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    end = START.replace(year=START.year + years) if years else datetime.datetime(9999, 12, 31, 23, 59, 59)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Factory 1")])
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"device-{number:05}"),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(int.from_bytes(b"\x5a" + os.urandom(19), "big"))
        .not_valid_before(START)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"device-{number:05}.example")]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key()), False)
    )
    return builder.sign(ca, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def location(place):
    loc = atcacert.atcacert_device_loc_t()
    loc.zone = 0x07 if place is None else 0x02
    if place is not None:
        loc.slot, loc.offset, loc.count = place["slot"], place["offset"], place["count"]
        loc.is_genkey = int(place["is_genkey"])
    return loc


def part(pair):
    loc = atcacert.atcacert_cert_loc_t()
    loc.offset, loc.count = pair
    return loc


def definition(data):
    """The library's structure from sealwright's definition."""
    d = atcacert.atcacert_def_t()
    d.type = 0
    d.comp_cert_dev_loc = location(data["compressed"])
    d.private_key_slot = data["private_key_slot"]
    d.template_id, d.chain_id = data["template_id"], data["chain_id"]
    d.std_sig_size = 64
    d.sn_source = 0xA if data["serial_from_key"] else 0
    d.cert_sn_dev_loc = location(data["serial_place"])
    formats = {13: 1, 15: 4}
    d.issue_date_format, d.expire_date_format = (formats[length] for length in data["date_lengths"])
    d.tbs_cert_loc = part(data["tbs"])
    d.expire_years = data["years"]
    d.public_key_dev_loc = location(data["public_key"])
    # Reading this field gives a copy, so it is set whole.
    d.std_cert_elements = (atcacert.atcacert_cert_loc_t * 8)(*(part(pair) for pair in data["standard"]))
    elements = (atcacert.atcacert_cert_element_t * len(data["elements"]))()
    for number, (slot, element) in enumerate(zip(elements, data["elements"])):
        slot.id = f"PART{number}".encode()
        slot.device_loc, slot.cert_loc = location(element["place"]), part(element["part"])
    d.cert_elements = ctypes.cast(elements, ctypes.POINTER(atcacert.atcacert_cert_element_t))
    d.cert_elements_count = len(elements)
    template = (ctypes.c_uint8 * (len(data["template"]) // 2)).from_buffer_copy(bytes.fromhex(data["template"]))
    d.cert_template = ctypes.cast(template, ctypes.POINTER(ctypes.c_uint8))
    d.cert_template_size = len(template)
    return d, (elements, template)


def their_compression(library, d, der):
    compressed = (ctypes.c_uint8 * 80)()
    signer = (ctypes.c_uint8 * 2)(0x12, 0x34)
    issued = atcacert.atcacert_tm_utc_t(0, 0, 22, 24, 10, 126)
    status = library.atcacert_get_comp_cert_ext(
        ctypes.byref(d), der, ctypes.c_size_t(len(der)), ctypes.byref(issued), signer, True, compressed
    )
    return status, bytes(compressed)[:72]


def sealwright(*arguments):
    return subprocess.run([sys.argv[1], "element", *arguments], check=True, capture_output=True, text=True).stdout


def one(library, ca, number, years, directory, state):
    public = bytearray(64)
    assert int(cal.atcab_genkey(0, public)) == 0
    der = issue(ca, public, number, years)
    path = os.path.join(directory, "certificate.der")
    with open(path, "wb") as file:
        file.write(der)
    if years not in state:
        template = os.path.join(directory, f"template-{years}.json")
        with open(template, "w", encoding="ascii") as file:
            file.write(sealwright("template", path, "--template-id", "3", "--chain-id", "1"))
        data = json.loads(sealwright("definition", "--template", template, "--chip", sys.argv[3], "--json"))
        state[years] = (template, data, definition(data))
    template, data, (d, keep) = state[years]
    line = json.loads(sealwright("compress", "--template", template, "--signer-id", "1234", path))
    compressed, stored = bytes.fromhex(line["compressed"]), bytes.fromhex(line["stored"])
    assert int(cal.atcab_write_bytes_zone(2, 10, 0, compressed, 72)) == 0
    padded = stored + b"\0" * (-len(stored) % 4)
    assert int(cal.atcab_write_bytes_zone(2, 8, 0, padded, len(padded))) == 0
    rebuilt, size = bytearray(1024), cal.AtcaReference(1024)
    # The template holds the authority key identifier, so the issuer's key is not used; the binding wants one.
    status = atcacert.atcacert_read_cert(d, bytearray(64), rebuilt, size)
    assert int(status) == 0, f"atcacert_read_cert: {int(status)}"
    assert bytes(rebuilt[: int(size.value)]) == der, "the library rebuilds another certificate"
    status, theirs = their_compression(library, d, der)
    assert status == 0, f"atcacert_get_comp_cert_ext: {status}"
    assert theirs == compressed, f"the library compresses otherwise:\n{theirs.hex()}\n{compressed.hex()}"
    del keep
    return {"certificate": der.hex(), "compressed": compressed.hex(), "stored": stored.hex(), "years": years}


def main():
    image, count = bytearray.fromhex(sys.argv[2]), int(sys.argv[4])
    vectors = []
    with tempfile.TemporaryDirectory() as directory:
        process, terminal = drives.start(sys.argv[1], os.path.join(directory, "chip.json"))
        try:
            cal.load_cryptoauthlib()
            config, phy = drives.connect(terminal)
            drives.ok(cal.atcab_init(config), f"open {terminal}")
            found = bytearray(128)
            drives.ok(cal.atcab_read_config_zone(found), "read configuration")
            image[:16], image[52:84], image[84:90] = found[:16], found[52:84], found[84:90]
            drives.ok(cal.atcab_write_config_zone(image), "write configuration")
            drives.ok(cal.atcab_lock_config_zone(), "lock configuration")
            drives.ok(cal.atcab_lock_data_zone(), "lock data zone")
            ca, state = ec.generate_private_key(ec.SECP256R1()), {}
            for number in range(count):
                years = (15, 0, 31, 40, 100)[number % 5]
                vectors.append(one(cal.get_cryptoauthlib(), ca, number, years, directory, state))
            cal.atcab_release()
            del phy
        finally:
            process.kill()
            process.wait()
    if len(sys.argv) > 5:
        origin = "compressed and rebuilt by cryptoauthlib 20260505 (PyPI), certificates by the Python package cryptography"
        with open(sys.argv[5], "w", encoding="ascii") as file:
            json.dump({"origin": origin, "signer_id": "1234", "vectors": vectors[:10]}, file, indent=1)
    print(f"cryptoauthlib rebuilds and compresses {count} certificates as sealwright does")


if __name__ == "__main__":
    main()

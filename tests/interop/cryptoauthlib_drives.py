"""The vendor's library (PyPI package cryptoauthlib, unmodified) drives the emulated ATECC608 over its UART kit HAL.

Usage: cryptoauthlib_drives.py SEALWRIGHT CONFIGURATION_HEX
Every call is the vendor's own; signatures are judged by the Python package cryptography.
"""

import ctypes
import hashlib
import os
import subprocess
import sys
import tempfile

import cryptoauthlib as cal
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

SUCCESS = 0


def start(sealwright, state):
    process = subprocess.Popen(
        [sealwright, "emulate", "atecc608", "--timing", "instant", "--pty", "--state", state],
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline().strip()


class Phy(ctypes.Structure):
    """The library's ATCAHAL_t: init, post init, send, receive, control, release."""

    INIT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    POST_INIT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
    SEND = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint8, ctypes.c_void_p, ctypes.c_int)
    RECEIVE = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_void_p, ctypes.c_uint8, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint16)
    )
    CONTROL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint8, ctypes.c_void_p, ctypes.c_size_t)
    RELEASE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
    _fields_ = [
        ("init", INIT),
        ("post_init", POST_INIT),
        ("send", SEND),
        ("receive", RECEIVE),
        ("control", CONTROL),
        ("release", RELEASE),
    ]


def connect(terminal):
    """Opens the pseudo-terminal below the library's own kit protocol.

    Its serial layer asks for a DTR line, which pseudo-terminals do not have, so another one is registered by the
    function that the library has for it; everything above, kit protocol included, is the library's.
    """
    line = os.open(terminal, os.O_RDWR | os.O_NOCTTY)

    def send(_iface, _word, data, length):
        os.write(line, ctypes.string_at(data, length))
        return SUCCESS

    def receive(_iface, _word, data, length):
        ctypes.memmove(data, os.read(line, 1), 1)
        length[0] = 1
        return SUCCESS

    phy = Phy(
        Phy.INIT(lambda _iface, _config: SUCCESS),
        Phy.POST_INIT(lambda _iface: SUCCESS),
        Phy.SEND(send),
        Phy.RECEIVE(receive),
        Phy.CONTROL(lambda *_: SUCCESS),
        Phy.RELEASE(lambda _data: SUCCESS),
    )
    library = cal.get_cryptoauthlib()
    uart = int(cal.iface.ATCAIfaceType.ATCA_UART_IFACE)
    kit, serial = ctypes.c_void_p(), ctypes.c_void_p()
    register = library.hal_iface_register_hal
    register.argtypes = [ctypes.c_int] + [ctypes.c_void_p] * 4
    # The first call only asks for the kit protocol's entry; both put in a physical layer.
    ok(register(uart, ctypes.addressof(phy), ctypes.addressof(kit), ctypes.addressof(phy), ctypes.addressof(serial)), "registered HAL")
    ok(register(uart, kit, None, ctypes.addressof(phy), None), "physical layer")
    config = cal.ATCAIfaceCfg()
    config.iface_type = uart
    config.devtype = int(cal.iface.ATCADeviceType.ATECC608)
    config.atcauart.dev_interface = int(cal.iface.ATCAKitType.ATCA_KIT_AUTO_IFACE)
    config.wake_delay = 1500
    config.rx_retries = 1
    return config, phy


def ok(status, what):
    if int(status) != SUCCESS:
        raise SystemExit(f"{what}: status {int(status):#x}")
    print(f"ok   {what}")


def refused(status, what):
    if int(status) == SUCCESS:
        raise SystemExit(f"{what}: succeeded, wanted a refusal")
    print(f"ok   {what}: refused with {int(status):#x}")


def verifies(public, digest, signature):
    x, y = (int.from_bytes(public[i : i + 32], "big") for i in (0, 32))
    r, s = (int.from_bytes(signature[i : i + 32], "big") for i in (0, 32))
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    key.verify(utils.encode_dss_signature(r, s), digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))


class TempKey(ctypes.Structure):
    """atca_temp_key_t."""

    _fields_ = [
        ("value", ctypes.c_uint8 * 64),
        ("key_id", ctypes.c_uint, 4),
        ("source_flag", ctypes.c_uint, 1),
        ("gen_dig_data", ctypes.c_uint, 1),
        ("gen_key_data", ctypes.c_uint, 1),
        ("no_mac_flag", ctypes.c_uint, 1),
        ("valid", ctypes.c_uint, 1),
        ("is_64", ctypes.c_uint8),
    ]


class Nonce(ctypes.Structure):
    """atca_nonce_in_out_t."""

    _fields_ = [("mode", ctypes.c_uint8), ("zero", ctypes.c_uint16)] + [
        (name, ctypes.c_void_p) for name in ("num_in", "rand_out", "temp_key")
    ]


class GenKey(ctypes.Structure):
    """atca_gen_key_in_out_t."""

    _fields_ = [
        ("mode", ctypes.c_uint8),
        ("key_id", ctypes.c_uint16),
        ("public_key", ctypes.c_void_p),
        ("public_key_size", ctypes.c_size_t),
        ("other_data", ctypes.c_void_p),
        ("sn", ctypes.c_void_p),
        ("temp_key", ctypes.c_void_p),
    ]


class SignInternal(ctypes.Structure):
    """atca_sign_internal_in_out_t."""

    _fields_ = (
        [("mode", ctypes.c_uint8)]
        + [(name, ctypes.c_uint16) for name in ("key_id", "slot_config", "key_config")]
        + [("use_flag", ctypes.c_uint8), ("update_count", ctypes.c_uint8)]
        + [("is_slot_locked", ctypes.c_bool), ("for_invalidate", ctypes.c_bool)]
        + [(name, ctypes.c_void_p) for name in ("sn", "temp_key", "message", "verify_other_data", "digest")]
    )


def attestation(public, serial, random=None, challenge=None, configuration=None, signature=None):
    """The chip's statement about its key, recomputed by the library's host functions.

    Without the last four the library asks the chip itself; with them it judges an attestation made by sealwright.
    """
    library = cal.get_cryptoauthlib()
    if random is None:
        challenge, random, signature = bytes(range(20)), bytearray(32), bytearray(64)
        ok(cal.atcab_nonce_rand(challenge, random), "random nonce")
        again = bytearray(64)
        ok(cal.atcab_genkey_base(0x08, 0, bytes(3), again), "genkey digest")
        assert again == public
        ok(cal.atcab_sign_internal(0, False, True, signature), "sign internal")
        configuration = bytearray(128)
        ok(cal.atcab_read_config_zone(configuration), "read configuration")
    hold = [(ctypes.c_uint8 * len(part)).from_buffer_copy(part) for part in (challenge, random, public, serial)]
    num_in, rand_out, key, sn = (ctypes.addressof(part) for part in hold)
    temp, digest = TempKey(), (ctypes.c_uint8 * 32)()
    state = ctypes.addressof(temp)
    ok(library.atcah_nonce(ctypes.byref(Nonce(0, 0, num_in, rand_out, state))), "the library's nonce")
    ok(library.atcah_gen_key_msg(ctypes.byref(GenKey(0x08, 0, key, 64, None, sn, state))), "the library's key digest")
    sign = SignInternal(mode=0x40, sn=sn, temp_key=state, digest=ctypes.addressof(digest))
    zone = (ctypes.c_uint8 * 128).from_buffer_copy(configuration)
    ok(library.atcah_config_to_sign_internal(3, ctypes.byref(sign), zone), "the library reads the configuration")
    ok(library.atcah_sign_internal_msg(3, ctypes.byref(sign)), "the library's message")
    verifies(public, bytes(digest), signature)
    print("ok   the statement verifies")


def run(image):
    revision, serial, found = bytearray(4), bytearray(9), bytearray(128)
    ok(cal.atcab_info(revision), "info")
    assert revision[2] == 0x60, revision.hex()
    ok(cal.atcab_read_serial_number(serial), "serial number")
    assert serial[:2] == b"\x01\x23" and serial[8] == 0xEE
    locked = cal.AtcaReference(True)
    ok(cal.atcab_is_locked(0, locked), "lock state")
    assert not locked.value
    random = bytearray(32)
    ok(cal.atcab_random(random), "random before the lock")
    assert random == b"\xff\xff\x00\x00" * 8

    ok(cal.atcab_read_config_zone(found), "read configuration")
    wanted = found[:16] + image[16:]
    wanted[52:84] = found[52:84]
    wanted[84:90] = found[84:90]
    ok(cal.atcab_write_config_zone(wanted), "write configuration")
    ok(cal.atcab_read_config_zone(found), "read it back")
    assert found == wanted, found.hex()
    refused(cal.atcab_genkey(0, bytearray(64)), "genkey before the configuration lock")
    crc = bytearray(2)
    cal.get_cryptoauthlib().atCRC(128, bytes(found), ctypes.byref((ctypes.c_uint8 * 2).from_buffer(crc)))
    summary = int.from_bytes(crc, "little")
    refused(cal.atcab_lock_config_zone_crc(summary ^ 1), "lock with a wrong summary")
    ok(cal.atcab_lock_config_zone_crc(summary), "lock configuration with its summary")
    refused(cal.atcab_lock_config_zone(), "lock configuration again")
    refused(cal.atcab_write_bytes_zone(0, 0, 20, b"\0" * 4, 4), "write configuration after the lock")

    public, again = bytearray(64), bytearray(64)
    ok(cal.atcab_genkey(0, public), "genkey")
    ok(cal.atcab_get_pubkey(0, again), "public key")
    assert public == again
    refused(cal.atcab_sign(0, b"\1" * 32, bytearray(64)), "sign before the data lock")
    ok(cal.atcab_lock_data_zone(), "lock data zone")
    refused(cal.atcab_lock_data_zone(), "lock data zone again")

    digest, signature = hashlib.sha256(b"sealwright").digest(), bytearray(64)
    ok(cal.atcab_sign(0, digest, signature), "sign")
    verifies(public, digest, signature)
    verdict = cal.AtcaReference(False)
    ok(cal.atcab_verify_extern(digest, signature, public, verdict), "verify on the chip")
    assert verdict.value
    ok(cal.atcab_verify_extern(b"\2" * 32, signature, public, verdict), "verify another digest on the chip")
    assert not verdict.value

    certificate, back = bytes(range(72)), bytearray(72)
    ok(cal.atcab_write_bytes_zone(2, 10, 0, certificate, 72), "write slot 10")
    ok(cal.atcab_read_bytes_zone(2, 10, 0, back, 72), "read slot 10")
    assert back == certificate
    whole, back = os.urandom(416), bytearray(416)
    ok(cal.atcab_write_bytes_zone(2, 8, 0, whole, 416), "write slot 8")
    ok(cal.atcab_read_bytes_zone(2, 8, 0, back, 416), "read slot 8")
    assert back == whole
    refused(cal.atcab_read_bytes_zone(2, 0, 0, bytearray(32), 32), "read a private key")
    refused(cal.atcab_write_bytes_zone(2, 0, 0, b"\0" * 32, 32), "write a private key in the clear")

    hashed = bytearray(32)
    ok(cal.atcab_sha(200, b"\x55" * 200, hashed), "sha of three blocks and a rest")
    assert hashed == hashlib.sha256(b"\x55" * 200).digest()
    value = cal.AtcaReference(0)
    ok(cal.atcab_counter_increment(0, value), "counter increment")
    ok(cal.atcab_counter_read(0, value), "counter read")
    assert int(value.value) == 1

    ok(cal.atcab_lock_data_slot(0), "lock slot 0")
    ok(cal.atcab_lock_data_slot(10), "lock slot 10")
    ok(cal.atcab_is_slot_locked(0, locked), "slot lock state")
    assert locked.value
    refused(cal.atcab_genkey(0, bytearray(64)), "a second genkey")
    refused(cal.atcab_write_bytes_zone(2, 10, 0, b"\0" * 32, 32), "write a locked slot")
    refused(cal.atcab_lock_data_slot(0), "lock slot 0 again")
    ok(cal.atcab_get_pubkey(0, again), "the key is the same")
    assert public == again
    attestation(public, serial)


def main():
    sealwright, image = sys.argv[1], bytearray.fromhex(sys.argv[2])
    with tempfile.TemporaryDirectory() as directory:
        process, terminal = start(sealwright, os.path.join(directory, "chip.json"))
        try:
            cal.load_cryptoauthlib()
            config, phy = connect(terminal)
            ok(cal.atcab_init(config), f"open {terminal}")
            run(image)
            cal.atcab_release()
            del phy
        finally:
            process.kill()
            process.wait()
    print("cryptoauthlib drives the emulator: every call agreed")


if __name__ == "__main__":
    main()

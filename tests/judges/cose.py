"""An independent COSE implementation (pycose) as judge and as signer.

verify ENVELOPE CONTENT            -> good | bad
sign   ENVELOPE CONTENT KEY CERT...   writes ENVELOPE
"""

import hashlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pycose.algorithms import Es256
from pycose.headers import Algorithm
from pycose.keys import EC2Key
from pycose.messages import CoseMessage, Sign1Message

X5CHAIN, PAYLOAD_HASH, SHA_256 = 33, 258, -16


def read(path):
    with open(path, "rb") as file:
        return file.read()


def key_of(numbers, private=None):
    parts = {"x": numbers.x.to_bytes(32, "big"), "y": numbers.y.to_bytes(32, "big")}
    if private is not None:
        parts["d"] = private.to_bytes(32, "big")
    return EC2Key(crv="P_256", **parts)


def header(message, label):
    for key, value in message.phdr.items():
        if getattr(key, "identifier", key) == label:
            return value
    raise KeyError(label)


def verify(envelope, content):
    message = CoseMessage.decode(read(envelope))
    chain = header(message, X5CHAIN)
    leaf = x509.load_der_x509_certificate(chain[0] if isinstance(chain, list) else chain)
    message.key = key_of(leaf.public_key().public_numbers())
    good = message.verify_signature() and header(message, PAYLOAD_HASH) == SHA_256
    return good and message.payload == hashlib.sha256(read(content)).digest()


def sign(envelope, content, key, *chain):
    private = load_pem_private_key(read(key), None).private_numbers()
    protected = {Algorithm: Es256, X5CHAIN: [read(c) for c in chain], PAYLOAD_HASH: SHA_256}
    message = Sign1Message(phdr=protected, payload=hashlib.sha256(read(content)).digest())
    message.key = key_of(private.public_numbers, private.private_value)
    with open(envelope, "wb") as file:
        file.write(message.encode())


if sys.argv[1] == "verify":
    print("good" if verify(*sys.argv[2:]) else "bad")
else:
    sign(*sys.argv[2:])

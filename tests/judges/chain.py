"""Verdict of Python's cryptography about a chain: ROOT LEAF [INTERMEDIATE...] -> good | bad."""

import sys

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError


def load(path):
    with open(path, "rb") as file:
        return x509.load_pem_x509_certificate(file.read())


try:
    root, leaf, *others = [load(path) for path in sys.argv[1:]]
    PolicyBuilder().store(Store([root])).build_client_verifier().verify(leaf, others)
    print("good")
except (VerificationError, ValueError) as reason:
    print("bad")
    print(reason, file=sys.stderr)

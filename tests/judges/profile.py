"""Verdict of Python's cryptography about one chain: PURPOSE ROOT CHAIN; PURPOSE is an OID or any.

Devices are no web servers: what the web's profile demands of a leaf beyond RFC 5280 (a name that
is a host name, an extKeyUsage) is not demanded here, but issuers are judged by the web's rules,
and the leaf's purpose is checked when it is given.
"""

import sys

from cryptography import x509
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store


def purpose_is(policy, cert, usage):
    wanted = sys.argv[1]
    if wanted != "any" and (usage is None or wanted not in [p.dotted_string for p in usage]):
        raise ValueError(f"extKeyUsage lacks {wanted}")


def key_usage_is(policy, cert, usage):
    if usage is None or not (usage.digital_signature or usage.key_cert_sign):
        raise ValueError("keyUsage lacks digitalSignature")


with open(sys.argv[2], "rb") as file:
    root = x509.load_pem_x509_certificate(file.read())
with open(sys.argv[3], "rb") as file:
    leaf, *others = x509.load_pem_x509_certificates(file.read())

ee = ExtensionPolicy.permit_all()
ee = ee.may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, purpose_is)
ee = ee.require_present(x509.KeyUsage, Criticality.CRITICAL, key_usage_is)
# IEEE 2030.5 demands a critical certificatePolicies; RFC 5280 verifiers understand it.
ee = ee.may_be_present(x509.CertificatePolicies, Criticality.AGNOSTIC, None)
ee = ee.require_present(x509.AuthorityKeyIdentifier, Criticality.NON_CRITICAL, None)
builder = PolicyBuilder().store(Store([root])).extension_policies(
    ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ee
)
builder.build_client_verifier().verify(leaf, others)

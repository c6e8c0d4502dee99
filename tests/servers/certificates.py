"""Certificates for servers on this machine that speak TLS."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def write_certificates(folder: Path) -> Path:
    """`ca.pem`, and `server.pem` for 127.0.0.1, signed by it; answers the folder."""
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "metaferry tests")])
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def certificate(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(then)
            .not_valid_after(then + datetime.timedelta(days=9))
        )

    # Since 3.13 Python asks of certificates what RFC 5280 does: key identifiers, and what an authority may.
    def identified(
        made: x509.CertificateBuilder, public: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        made = made.add_extension(issuer, critical=False)
        return made.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)

    other_uses = (
        "content_commitment key_encipherment data_encipherment key_agreement encipher_only decipher_only"
    )
    signing = x509.KeyUsage(
        key_cert_sign=True, digital_signature=True, crl_sign=True, **dict.fromkeys(other_uses.split(), False)
    )
    put_credential = (
        identified(certificate(name, ca_key.public_key()), ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(signing, critical=True)
    )
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    own = identified(certificate(x509.Name([]), key.public_key()), key.public_key())
    own = own.add_extension(address, critical=True)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(put_credential.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(private + own.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    return folder

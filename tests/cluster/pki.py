"""A certificate authority for one cluster, its certificates, and kubeconfigs that carry them."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = dt.timedelta(days=30)


@dataclass(frozen=True)
class Signed:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> None:
        """As NAME.crt and NAME.key."""
        (folder / f"{name}.crt").write_bytes(self.certificate)
        (folder / f"{name}.key").write_bytes(self.key)


class Authority:
    """Signs with a key made on the spot; elliptic curves, because RSA keys take a second each."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dragoman-test-ca")])
        self.certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
        )

    def sign(self, user: str, *, groups: Iterable[str] = (), names: Iterable[str] = ()) -> Signed:
        """A certificate for a client (`user` and `groups` are Kubernetes' own) and a server (`names`: addresses and host names)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = _builder(x509.Name(subject), self._name, key.public_key()).add_extension(usages, critical=False)
        alternatives = [_alternative(name) for name in names]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return Signed(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM), _pem(key))


def service_account_key() -> tuple[bytes, bytes]:
    """The key that signs service accounts' tokens, and its public half."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _pem(key), key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def kubeconfig(server: str, authority: bytes, user: Signed) -> str:
    """Complete in itself: no paths. JSON, which is YAML."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "dragoman", "cluster": {"server": server, "certificate-authority-data": _base64(authority)}}],
            "users": [
                {
                    "name": "dragoman",
                    "user": {"client-certificate-data": _base64(user.certificate), "client-key-data": _base64(user.key)},
                }
            ],
            "contexts": [{"name": "dragoman", "context": {"cluster": "dragoman", "user": "dragoman"}}],
            "current-context": "dragoman",
        },
        indent=1,
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + VALID)
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    # PKCS#8 is not what kube-apiserver reads for service accounts' keys everywhere; SEC 1 is
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def _base64(pem: bytes) -> str:
    return base64.b64encode(pem).decode("ascii")

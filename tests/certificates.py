"""Certificates for a test: an authority, and a server's and a client's that it signed."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST: Final = IPv4Address("127.0.0.1")


@dataclass(frozen=True)
class Certificates:
    """Where the files are.

    Attributes:
        authority: the certificate of who signed the others.
        server: the server's certificate, for 127.0.0.1, and its key.
        client: the client's certificate and its key.
    """

    authority: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]

    def options(self, port: int) -> tuple[str, ...]:
        """What has a server speak TLS on a port, with clients that show a certificate."""
        given = {
            "tls-port": str(port),
            "tls-ca-cert-file": str(self.authority),
            "tls-cert-file": str(self.server[0]),
            "tls-key-file": str(self.server[1]),
        }
        return tuple(word for name, value in given.items() for word in (f"--{name}", value))

    @property
    def query(self) -> str:
        """What a URL says behind its question mark."""
        certificate, key = self.client
        return f"ssl_ca_certs={self.authority}&ssl_certfile={certificate}&ssl_keyfile={key}"


class _Authority:
    """Signs certificates."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("an authority")
        self.path = self._write("authority", self._signed(self._name, self._key, ca=True))

    def pair(self, name: str) -> tuple[Path, Path]:
        """A certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._write(name, self._signed(_named(name), key, ca=False)), self._write(
            f"{name}.key",
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    def _write(self, name: str, pem: bytes) -> Path:
        path = self._folder / f"{name}.pem"
        path.write_bytes(pem)
        return path

    def _signed(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> bytes:
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(HOST)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def make_certificates(folder: Path) -> Certificates:
    """Make them, in a folder."""
    authority = _Authority(folder)
    return Certificates(authority.path, authority.pair("server"), authority.pair("client"))

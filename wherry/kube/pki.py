"""Keys and certificates of a cluster: authorities, server and client certificates, token signing keys.

Every key is EC P-256 (83 µs for a key and its certificate, against 29 ms for an RSA key). A client certificate names
the user as common name and the groups as organisations, as Kubernetes' x509 authentication reads them.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
_CLOCK_SKEW = timedelta(hours=1)
"""Certificates start to count this long ago, for clients whose clock is behind."""

_LONGEST_NAME = 64
"""Longest common name (RFC 5280, ub-common-name)."""


class PkiError(Exception):
    """A key or certificate file that cannot be used; one line says why."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def save(self, certificate: Path, key: Path) -> None:
        """Write both files, each in one step; only the owner can read the key."""
        write_private(key, self.key)
        write_public(certificate, self.certificate)

    @classmethod
    def load(cls, certificate: Path, key: Path) -> KeyPair:
        """Read what :meth:`save` wrote; PkiError when the files are unreadable or do not belong together."""
        try:
            pair = cls(certificate.read_bytes(), key.read_bytes())
            public = x509.load_pem_x509_certificate(pair.certificate).public_key()
            fits = public == load_private_key(pair.key).public_key()
        except (OSError, ValueError) as error:
            raise PkiError(f"{certificate}: {error}") from error
        if not fits:
            raise PkiError(f"{certificate}: does not belong to the key in {key}")
        return pair

    @property
    def expires(self) -> datetime:
        """When the certificate ends (UTC)."""
        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc


class Authority:
    """A certificate authority."""

    def __init__(self, pair: KeyPair) -> None:
        self.pair = pair
        self._certificate = x509.load_pem_x509_certificate(pair.certificate)
        self._key = load_private_key(pair.key)

    @property
    def certificate(self) -> bytes:
        """The authority's own certificate, PEM: what clients trust."""
        return self.pair.certificate

    @classmethod
    def create(cls, name: str, *, now: datetime | None = None) -> Authority:
        """A new self-signed authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = _key_usage(signs_certificates=True)
        certificate = (
            _builder(subject, subject, key.public_key(), CA_LIFETIME, now)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, SHA256())
        )
        return cls(KeyPair(certificate.public_bytes(serialization.Encoding.PEM), private_pem(key)))

    @classmethod
    def load_or_create(cls, certificate: Path, key: Path, name: str) -> Authority:
        """The authority in these files, made when neither exists; PkiError when they are damaged."""
        if certificate.exists() or key.exists():
            return cls(KeyPair.load(certificate, key))
        authority = cls.create(name)
        authority.pair.save(certificate, key)
        return authority

    def issue_server(self, name: str, hosts: Iterable[str], *, now: datetime | None = None) -> KeyPair:
        """A certificate for a server reached under these DNS names and addresses."""
        names = x509.SubjectAlternativeName([_general_name(host) for host in dict.fromkeys(hosts)])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return self._issue(subject, ExtendedKeyUsageOID.SERVER_AUTH, names, now)

    def issue_client(self, user: str, groups: Iterable[str] = (), *, now: datetime | None = None) -> KeyPair:
        """A certificate that authenticates a user with groups."""
        organisations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*organisations, x509.NameAttribute(NameOID.COMMON_NAME, user)])
        return self._issue(subject, ExtendedKeyUsageOID.CLIENT_AUTH, None, now)

    def _issue(
        self,
        subject: x509.Name,
        purpose: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
        now: datetime | None,
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(subject, self._certificate.subject, key.public_key(), LEAF_LIFETIME, now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, SHA256())
        return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), private_pem(key))


def new_signing_key() -> bytes:
    """A new key for signing service-account tokens (ES256), PEM."""
    return private_pem(ec.generate_private_key(ec.SECP256R1()))


def load_private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """An EC private key; ValueError for anything else."""
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an EC private key")
    return key


def public_pem(private: bytes) -> bytes:
    """The public half of a private key, PEM."""
    return (
        load_private_key(private)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def key_id(public: bytes) -> str:
    """The ``kid`` of a token signing key as Kubernetes makes it: base64url SHA-256 of the public key's DER form."""
    der = serialization.load_pem_public_key(public).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key in unencrypted PKCS 8, PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, in one step: readers see the old content or the new."""
    _write(path, content, 0o600)


def write_public(path: Path, content: bytes) -> None:
    """Write a file that everyone can read, in one step."""
    _write(path, content, 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def self_signed_server(name: str, hosts: Iterable[str], *, now: datetime | None = None) -> KeyPair:
    """A server's certificate that nobody vouches for; a client may be told to trust it as it is."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_LONGEST_NAME])])
    names = x509.SubjectAlternativeName([_general_name(host) for host in dict.fromkeys(hosts)])
    certificate = (
        _builder(subject, subject, key.public_key(), LEAF_LIFETIME, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .sign(key, SHA256())
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), private_pem(key))


def certificate_hosts(certificate: bytes) -> tuple[str, ...]:
    """The names and addresses a PEM certificate is for. Raises ValueError for what is none."""
    found = x509.load_pem_x509_certificate(certificate)
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in names)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    lifetime: timedelta,
    now: datetime | None,
) -> x509.CertificateBuilder:
    moment = now or datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _CLOCK_SKEW)
        .not_valid_after(moment + lifetime)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)

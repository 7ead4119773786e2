"""Signing certificate requests (PKCS 10) of nodes, strictly: a request must say exactly what we would grant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wherry.kube.pki import LEAF_LIFETIME, KeyPair, load_private_key

_CLOCK_SKEW = timedelta(hours=1)  # for nodes whose clock is behind
_MAX_REQUEST = 16 << 10  # bytes


class BadRequest(ValueError):
    """A certificate request that is not signed; the text says why."""


class Signer:
    """An authority that signs requests. Raises `wherry.kube.pki.PkiError` for unusable files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        pair = KeyPair.load(certificate, key)
        self.certificate = pair.certificate
        self._issuer = x509.load_pem_x509_certificate(pair.certificate)
        self._key = load_private_key(pair.key)

    def sign_client(self, request: str, user: str, groups: Sequence[str], now: datetime | None = None) -> bytes:
        """A client certificate (PEM) of `user` in `groups`; the request must name both and nothing else."""
        parsed = _parse(request)
        _check_subject(parsed, user, groups)
        if list(_extensions(parsed)):
            raise BadRequest("a request for a client certificate must not ask for extensions")
        return self._issue(parsed, ExtendedKeyUsageOID.CLIENT_AUTH, None, now)

    def sign_server(
        self, request: str, user: str, groups: Sequence[str], hosts: Iterable[str], now: datetime | None = None
    ) -> bytes:
        """A serving certificate (PEM) for exactly the names that the request asks for, all of them among `hosts`."""
        parsed = _parse(request)
        _check_subject(parsed, user, groups)
        extensions = list(_extensions(parsed))
        if len(extensions) != 1 or not isinstance(extensions[0], x509.SubjectAlternativeName):
            raise BadRequest("a request for a serving certificate must ask for alternative names and nothing else")
        names = extensions[0]
        allowed = set(hosts)
        asked = [_host(name) for name in names]
        if not asked:
            raise BadRequest("a request for a serving certificate must name a host")
        for host in asked:
            if host not in allowed:
                raise BadRequest(f"the serving certificate may not be valid for {host}")
        return self._issue(parsed, ExtendedKeyUsageOID.SERVER_AUTH, names, now)

    def _issue(
        self,
        request: x509.CertificateSigningRequest,
        purpose: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
        now: datetime | None,
    ) -> bytes:
        moment = now or datetime.now(UTC)
        end = min(moment + LEAF_LIFETIME, self._issuer.not_valid_after_utc)
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(self._issuer.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - _CLOCK_SKEW)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(issuer_key, critical=False)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)


def _parse(request: str) -> x509.CertificateSigningRequest:
    if len(request) > _MAX_REQUEST:
        raise BadRequest("the certificate request is too long")
    try:
        parsed = x509.load_pem_x509_csr(request.encode())
        valid = parsed.is_signature_valid
        key = parsed.public_key()
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise BadRequest(f"the certificate request cannot be read: {error}") from error
    if not valid:
        raise BadRequest("the certificate request is not signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadRequest("the key of a certificate request must be EC P-256")
    return parsed


def _check_subject(request: x509.CertificateSigningRequest, user: str, groups: Sequence[str]) -> None:
    said = [(attribute.oid, str(attribute.value)) for attribute in request.subject]
    wanted = [(NameOID.ORGANIZATION_NAME, group) for group in groups] + [(NameOID.COMMON_NAME, user)]
    if sorted(said, key=str) != sorted(wanted, key=str):
        listed = ", ".join(f"O={group}" for group in groups)
        raise BadRequest(f"the subject of the certificate request must be {listed}, CN={user}")


def _extensions(request: x509.CertificateSigningRequest) -> Iterable[x509.ExtensionType]:
    try:
        return [extension.value for extension in request.extensions]
    except ValueError as error:
        raise BadRequest(f"the extensions of the certificate request cannot be read: {error}") from error


def _host(name: x509.GeneralName) -> str:
    if isinstance(name, x509.DNSName):
        return name.value
    if isinstance(name, x509.IPAddress):
        return str(ip_address(str(name.value)))
    raise BadRequest("a serving certificate is for DNS names and IP addresses only")


__all__ = ["BadRequest", "Signer"]

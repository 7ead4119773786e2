"""How a machine becomes a node of a server elsewhere: it shows the join token and gets certificates.

The token is K3s' ``K10<SHA-256 of the authority>::server:<secret>``: the hash lets this machine check the server's
authority before it says the secret. A token without the hash is taken as it is; the authority is then trusted unseen,
as K3s does, and a warning says so. The keys never leave this machine.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from wherry.kube.pki import KeyPair, private_pem, write_private, write_public

log = logging.getLogger(__name__)

_TIMEOUT = 30.0
_LONGEST_COMMON_NAME = 64  # RFC 5280, appendix A.1: ub-common-name
#: Certificates that end sooner than this are asked for anew at start.
_RENEW = timedelta(days=120)


class JoinError(Exception):
    """The machine could not join; the message says which server said what."""


class _Answer(msgspec.Struct):
    server_authority: str
    client_authority: str
    client_certificate: str
    serving_certificate: str
    cluster: dict[str, list[str]]


@dataclass(frozen=True)
class NodeFiles:
    """What a joined node has on disk."""

    folder: Path

    @property
    def client(self) -> tuple[Path, Path]:
        """Certificate and key shown to the API server."""
        return self.folder / "client-kubelet.crt", self.folder / "client-kubelet.key"

    @property
    def serving(self) -> tuple[Path, Path]:
        """Certificate and key shown to callers of the kubelet API."""
        return self.folder / "serving-kubelet.crt", self.folder / "serving-kubelet.key"

    @property
    def server_authority(self) -> Path:
        """Who signs what servers show."""
        return self.folder / "server-ca.crt"

    @property
    def client_authority(self) -> Path:
        """Who signs what clients show."""
        return self.folder / "client-ca.crt"

    @property
    def cluster(self) -> Path:
        """The flags that hold for the whole cluster, as the server told them."""
        return self.folder / "cluster.json"

    def cluster_values(self) -> dict[str, list[str]]:
        """Read them, by flag name."""
        return msgspec.json.decode(self.cluster.read_bytes(), type=dict[str, list[str]])

    @property
    def password(self) -> Path:
        """What keeps another machine from taking this node's name."""
        return self.folder / "node-password"

    def valid(self, name: str, addresses: Sequence[str]) -> bool:
        """Whether there are certificates of this node, by its name and addresses, that are good for some time."""
        pairs = (self.client, self.serving)
        if not all(path.exists() for pair in pairs for path in pair) or not self.cluster.exists():
            return False
        if any(KeyPair.load(*pair).expires - datetime.now(UTC) <= _RENEW for pair in pairs):
            return False
        client, serving = (x509.load_pem_x509_certificate(certificate.read_bytes()) for certificate, _ in pairs)
        names = serving.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = set(names.get_values_for_type(x509.IPAddress))
        users = client.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return [user.value for user in users] == [_user(name)] and known >= {ip_address(one) for one in addresses}

    def context(self) -> ssl.SSLContext:
        """TLS towards the API server."""
        context = ssl.create_default_context(cafile=str(self.server_authority))
        context.load_cert_chain(*self.client)
        return context


def join(server: str, token: str, name: str, addresses: Sequence[str], folder: Path) -> NodeFiles:
    """Get a node's certificates from ``server`` (https://HOST:PORT) unless there are valid ones of that node.

    Raises JoinError.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = NodeFiles(folder)
    if files.valid(name, addresses):
        return files
    authority = _authority(server, token)
    context = ssl.create_default_context(cadata=authority)
    if not files.password.exists():
        write_private(files.password, secrets.token_hex(16).encode())
    client_key, serving_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    known = [x509.IPAddress(ip_address(address)) for address in addresses]
    body = {
        "client_request": _request(client_key, name),
        "serving_request": _request(serving_key, name, hosts=(x509.DNSName(name), *known)),
        "addresses": list(addresses),
        "password": files.password.read_text(),
    }
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    path = f"/v1-wherry/nodes/{name}/credentials"
    answer = _send(server, context, "POST", path, msgspec.json.encode(body), headers)
    try:
        given = msgspec.json.decode(answer, type=_Answer)
    except msgspec.MsgspecError as error:
        raise JoinError(f"{server}: the answer to joining cannot be read: {error}") from error
    write_public(files.cluster, msgspec.json.encode(given.cluster))
    write_public(files.server_authority, given.server_authority.encode())
    write_public(files.client_authority, given.client_authority.encode())
    KeyPair(given.client_certificate.encode(), private_pem(client_key)).save(*files.client)
    KeyPair(given.serving_certificate.encode(), private_pem(serving_key)).save(*files.serving)
    return files


def _authority(server: str, token: str) -> str:
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    pem = _send(server, unverified, "GET", "/v1-wherry/cacerts", None, {})
    if token.startswith("K10"):
        wanted = token[3:].partition("::")[0]
        found = hashlib.sha256(pem).hexdigest()
        if found != wanted:
            raise JoinError(
                f"{server}: its authority is not the one that the token was made for; is it the right server?"
            )
    else:
        log.warning("the token has no hash of the server's authority (K10...): trusting %s unseen", server)
    return pem.decode()


def _user(name: str) -> str:
    return f"system:node:{name}"


def _request(key: ec.EllipticCurvePrivateKey, name: str, *, hosts: Sequence[x509.GeneralName] = ()) -> str:
    user = _user(name)
    if len(user) > _LONGEST_COMMON_NAME:
        most = _LONGEST_COMMON_NAME - len(user) + len(name)
        raise JoinError(
            f"node name {name!r} is too long for a certificate, which holds {most} characters of it; "
            "give a shorter --node-name"
        )
    group = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes")
    subject = x509.Name([group, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    return builder.sign(key, SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _send(
    server: str, context: ssl.SSLContext, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> bytes:
    url = urlsplit(server)
    connection = http.client.HTTPSConnection(url.hostname or "", url.port or 443, timeout=_TIMEOUT, context=context)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise JoinError(f"{server} cannot be reached: {error}") from error
    finally:
        connection.close()
    if response.status == 401:
        raise JoinError(f"{server} refuses the token; it is in the file server/token of the server's data folder")
    if response.status != 200:
        raise JoinError(f"{server} answers {response.status}: {_message(answer)}")
    return answer


def _message(answer: bytes) -> str:
    try:
        return str(msgspec.json.decode(answer)["message"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return answer[:300].decode(errors="replace")

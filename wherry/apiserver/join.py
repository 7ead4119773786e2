"""How a machine becomes a node: `GET /v1-wherry/cacerts`, then `POST /v1-wherry/nodes/<name>/credentials`.

The first gives anyone the authority that signs this server's certificates, as K3s' `/cacerts` does: a join token
`K10<SHA-256 of it>::server:<secret>` lets the machine check it before it says the secret.

The caller shows the cluster's join token, and sends a certificate request for a client certificate, one for a serving
certificate, its addresses and a password of its own making. It gets both certificates and the authorities. The first
machine that takes a name sets the password for it, as K3s does it: in Secret `<node>.node-password.k3s` of kube-system.
A machine with another password is refused, so that two machines cannot be one node, and nobody with the join token
alone can take over a node that exists. The Secret goes with the node's object. A node that is Ready without one, such
as a server's own, belongs to someone too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Callable
from datetime import datetime
from ipaddress import ip_address

import msgspec

from wherry.apiserver.config import JoinFiles
from wherry.apiserver.kinds.model import Object, Refusal, refuse_bad_request
from wherry.apiserver.kinds.names import dns_subdomain
from wherry.apiserver.kinds.printing import format_time
from wherry.apiserver.request import TEXT, Answer, Request, Response, TooLarge
from wherry.apiserver.schema.bundle import schema_for
from wherry.apiserver.schema.canonical import canonical
from wherry.apiserver.status import (
    failure,
    internal,
    method_not_allowed,
    not_found_resource,
    too_large,
    unauthorized,
)
from wherry.apiserver.storage import Exists, Store

NODES_GROUP = "system:nodes"
_SECRET_SUFFIX = ".node-password.k3s"
_NAMESPACE = "kube-system"
_MAX_ADDRESSES = 16
_MIN_PASSWORD = 16
_COST = {"n": 1 << 14, "r": 8, "p": 1}  # scrypt: some 50 ms, once per join


class Credentials(msgspec.Struct):
    """The body of a request; certificate requests are PEM."""

    client_request: str
    serving_request: str
    addresses: list[str]
    password: str


class Joins:
    """The endpoint."""

    def __init__(self, store: Store, files: JoinFiles, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._files = files
        self._clock = clock

    async def handle(self, request: Request, parts: list[str]) -> Answer:
        """Answer a request below `/v1-wherry/`; raises Refusal."""
        if parts == ["cacerts"]:
            if request.method != "GET":
                raise method_not_allowed()
            return Response(200, self._authority(), TEXT)
        self._check_token(request)
        if len(parts) != 3 or parts[0] != "nodes" or parts[2] != "credentials":
            raise not_found_resource()
        if request.method != "POST":
            raise method_not_allowed()
        name = parts[1]
        problems = dns_subdomain(name)
        if problems:
            raise refuse_bad_request(f'"{name}" is no node name: {problems[0]}')
        try:
            body = msgspec.json.decode(await request.read_body(), type=Credentials)
        except TooLarge as error:
            raise too_large() from error
        except msgspec.DecodeError as error:
            raise refuse_bad_request(f"the body is no credentials request: {error}") from error
        addresses = _addresses(body.addresses)
        if len(body.password) < _MIN_PASSWORD:
            raise refuse_bad_request(f"the node password must have at least {_MIN_PASSWORD} characters")
        signed = self._sign(name, body, addresses)
        await self._take_name(name, body.password)
        return Response(200, msgspec.json.encode({**signed, "cluster": self._files.cluster}))

    def _check_token(self, request: Request) -> None:
        try:
            wanted = self._files.token.read_text().strip()
        except OSError as error:
            raise internal(f"cannot read the join token: {error.strerror}") from error
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # The hash before the secret is for the machine that joins; it may have been given the secret alone.
        matches = hmac.compare_digest(_secret_of(given).encode(), _secret_of(wanted).encode())
        if not wanted or scheme.lower() != "bearer" or not matches:
            raise unauthorized()

    def _authority(self) -> bytes:
        certificate, _ = self._files.server_authority
        try:
            return certificate.read_bytes()
        except OSError as error:
            raise internal(f"cannot read the authority: {error.strerror}") from error

    def _sign(self, name: str, body: Credentials, addresses: list[str]) -> dict[str, str]:
        from wherry.apiserver import csr  # cryptography takes its time, and few servers see a join
        from wherry.kube.pki import PkiError

        try:
            server = csr.Signer(*self._files.server_authority)
            client = csr.Signer(*self._files.client_authority)
        except PkiError as error:
            raise internal(str(error)) from error
        user, groups = f"system:node:{name}", (NODES_GROUP,)
        try:
            client_certificate = client.sign_client(body.client_request, user, groups)
            serving_certificate = server.sign_server(body.serving_request, user, groups, (name, *addresses))
        except csr.BadRequest as error:
            raise refuse_bad_request(str(error)) from error
        return {
            "server_authority": server.certificate.decode(),
            "client_authority": client.certificate.decode(),
            "client_certificate": client_certificate.decode(),
            "serving_certificate": serving_certificate.decode(),
        }

    async def _take_name(self, name: str, password: str) -> None:
        """Set the password of a new node, or compare it with that of a known one; raises Refusal."""
        bucket = self._store.bucket("secrets")
        key = f"{_NAMESPACE}/{name}{_SECRET_SUFFIX}"
        there = bucket.head(key)
        if there is None:
            if name == self._files.own_node or self._ready(name):
                raise self._taken(name)
            try:
                await self._store.create(bucket, key, self._secret(name, password))
                return
            except Exists as error:
                there = error.entry
        data = there.object().get("data") or {}
        try:
            salt, digest = (base64.b64decode(data[part]) for part in ("salt", "hash"))
        except (KeyError, ValueError) as error:
            raise internal(f"the Secret {key} holds no password hash; delete it to let the node join") from error
        if not hmac.compare_digest(_hash(password, salt), digest):
            raise self._taken(name)

    def _ready(self, name: str) -> bool:
        conditions = self._node(name).get("status", {}).get("conditions") or ()
        return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)

    def _node(self, name: str) -> Object:
        entry = self._store.bucket("nodes").head(name)
        return entry.object() if entry is not None else {}

    def _taken(self, name: str) -> Refusal:
        """The refusal of a machine that wants a name that another has; K3s' words, then who has it and what to do."""
        rows = self._node(name).get("status", {}).get("addresses") or ()
        addresses = [row["address"] for row in rows if row.get("type") == "InternalIP"]
        where = f" at {', '.join(addresses)}" if addresses else ""
        text = (
            f'Node password rejected, duplicate hostname: node "{name}" is another machine{where}. Give this one a '
            "name of its own by --node-name or --with-node-id; if it is the same machine, which has lost its password, "
            f"make the name free first: kubectl delete node {name}"
        )
        return failure(403, "Forbidden", text, {"name": name, "kind": "nodes"})

    def _secret(self, name: str, password: str) -> Object:
        salt = secrets.token_bytes(16)
        schema = schema_for("", "v1", "Secret")
        assert schema is not None  # built in
        secret = {
            "metadata": {
                "name": f"{name}{_SECRET_SUFFIX}",
                "namespace": _NAMESPACE,
                "uid": str(uuid.uuid4()),
                "creationTimestamp": format_time(self._clock()),
            },
            "type": "wherry.dev/node-password",
            "immutable": True,
            "data": {
                "salt": base64.b64encode(salt).decode(),
                "hash": base64.b64encode(_hash(password, salt)).decode(),
            },
        }
        return canonical(secret, schema)


def _secret_of(token: str) -> str:
    return token.strip().rpartition(":")[2]


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_COST["n"], r=_COST["r"], p=_COST["p"], maxmem=1 << 26)


def _addresses(given: list[str]) -> list[str]:
    if not given or len(given) > _MAX_ADDRESSES:
        raise refuse_bad_request(f"a node has 1 to {_MAX_ADDRESSES} addresses")
    try:
        return [str(ip_address(one)) for one in given]
    except ValueError as error:
        raise refuse_bad_request(str(error)) from error

"""Keys, certificates and tokens of a server: made once, kept, renewed when their names change or they run out.

As in K3s one authority signs what servers show and another what clients show. Our own processes authenticate by
bearer tokens in ``cred/tokens.csv``, the file format of kube-apiserver's ``--token-auth-file``.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from wherry.config.settings import Settings
from wherry.config.yaml import dump
from wherry.kube.pki import Authority, KeyPair, new_signing_key, write_private, write_public
from wherry.server.paths import ServerPaths

#: A certificate that ends sooner than this is made anew at start (K3s: 90 days of its year).
_RENEW = timedelta(days=120)


def server_names(settings: Settings) -> list[str]:
    """The names and addresses by which every API server is reached, wherever it runs."""
    names = ["localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    names.append(f"kubernetes.default.svc.{settings.cluster_domain}")
    return [*names, *(str(net[1]) for net in settings.service_cidrs), *settings.tls_sans]


@dataclass(frozen=True)
class NodeCredentials:
    """The files a node's agent needs beside the API server's address."""

    token: Path
    serving: Path
    serving_key: Path
    client_ca: Path
    server_ca: Path

    @classmethod
    def in_folder(cls, folder: Path) -> NodeCredentials:
        """Where they are in an agent's data folder."""
        return cls(
            folder / "client.token",
            folder / "serving-kubelet.crt",
            folder / "serving-kubelet.key",
            folder / "client-ca.crt",
            folder / "server-ca.crt",
        )


class Credentials:
    """The credentials of one server. Every method may be called again; nothing valid is replaced."""

    def __init__(self, paths: ServerPaths) -> None:
        """Make or load the authorities. Raises wherry.kube.pki.PkiError where their files are damaged."""
        paths.make()
        self._paths = paths
        self._server_ca = Authority.load_or_create(paths.server_ca, paths.server_ca_key, "wherry-server-ca")
        self._client_ca = Authority.load_or_create(paths.client_ca, paths.client_ca_key, "wherry-client-ca")

    def prepare(self, hosts: Iterable[str], token: str) -> None:
        """Make what the API server and the controllers need; ``hosts`` are the names the API server is reached by."""
        paths = self._paths
        if not paths.service_account_key.exists():
            write_private(paths.service_account_key, new_signing_key())
        names = sorted(set(hosts))
        stamp = paths.tls / "serving-kube-apiserver.names"
        if not _valid(paths.serving, paths.serving_key) or not stamp.exists() or stamp.read_text().split() != names:
            self._server_ca.issue_server("kube-apiserver", names).save(paths.serving, paths.serving_key)
            write_public(stamp, "\n".join(names).encode())
        self._client(paths.kubelet_client, paths.kubelet_client_key, "kube-apiserver-kubelet-client", "system:masters")
        self._client(paths.admin, paths.admin_key, "system:admin", "system:masters")
        self._token(paths.controllers_token, "system:kube-controller-manager", "system:kube-controller-manager")
        # Add-ons may hold anything, roles too, which only those may write who could do all that.
        self._token(paths.addons_token, "system:addons", "system:masters")
        self._join_token(token)

    def node(self, name: str, addresses: Iterable[str], folder: Path) -> NodeCredentials:
        """Make the credentials of a node of this machine in its agent's folder."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files = NodeCredentials.in_folder(folder)
        self._token(files.token, f"system:node:{name}", "system:nodes")
        if not _valid(files.serving, files.serving_key):
            self._server_ca.issue_server(name[:64], [name, *addresses]).save(files.serving, files.serving_key)
        write_public(files.client_ca, self._client_ca.certificate)
        write_public(files.server_ca, self._server_ca.certificate)
        return files

    def forget(self, user: str) -> None:
        """Make a user's token worthless."""
        self._write_tokens([row for row in self._tokens() if row[1] != user])

    def write_kubeconfig(self, path: Path, server: str, mode: int = 0o600) -> None:
        """Write the administrator's kubeconfig for the API server at a URL."""
        admin = KeyPair.load(self._paths.admin, self._paths.admin_key)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "wherry",
                    "cluster": {"server": server, "certificate-authority-data": _base64(self._server_ca.certificate)},
                }
            ],
            "users": [
                {
                    "name": "wherry",
                    "user": {
                        "client-certificate-data": _base64(admin.certificate),
                        "client-key-data": _base64(admin.key),
                    },
                }
            ],
            "contexts": [{"name": "wherry", "context": {"cluster": "wherry", "user": "wherry"}}],
            "current-context": "wherry",
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, dump(config).encode())
        path.chmod(mode)

    def _client(self, certificate: Path, key: Path, user: str, group: str) -> None:
        if not _valid(certificate, key):
            self._client_ca.issue_client(user, [group]).save(certificate, key)

    def _join_token(self, token: str) -> None:
        # K3s' form: the hash lets a joining node check the authority before it says the secret.
        digest = hashlib.sha256(self._server_ca.certificate).hexdigest()
        path = self._paths.join_token
        if token or not path.exists():
            secret = token.rpartition(":")[2] if token else secrets.token_hex(16)
            write_private(path, f"K10{digest}::server:{secret}\n".encode())

    def _token(self, path: Path, user: str, group: str) -> None:
        known = {row[0]: row for row in self._tokens()}
        if path.exists() and known.get(path.read_text().strip(), ["", ""])[1] == user:
            return
        token = secrets.token_hex(32)
        self._write_tokens([*known.values(), [token, user, user, group]])
        write_private(path, f"{token}\n".encode())

    def _tokens(self) -> list[list[str]]:
        if not self._paths.tokens.exists():
            return []
        return [row for row in csv.reader(self._paths.tokens.read_text().splitlines()) if row]

    def _write_tokens(self, rows: list[list[str]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_private(self._paths.tokens, text.getvalue().encode())


def _valid(certificate: Path, key: Path) -> bool:
    if not certificate.exists() or not key.exists():
        return False
    return KeyPair.load(certificate, key).expires - datetime.now(UTC) > _RENEW


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()

"""Where an API server is and how to prove who we are, before anything is opened."""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

TokenSource = Callable[[], Awaitable[str]]
"""Gives the bearer token to use now; called for every request, so it caches by itself."""


class ConfigError(Exception):
    """A kubeconfig or in-cluster configuration that cannot be used; one line says what is wrong."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An API server: base URL, and either a unix socket path or TLS settings, and perhaps a token source.

    ``server_name`` replaces the URL's host in TLS; ``namespace`` is the one that the configuration works in.
    """

    url: str
    socket: str | None = None
    ssl: ssl.SSLContext | None = field(default=None, repr=False)
    token: TokenSource | None = field(default=None, repr=False)
    namespace: str = "default"
    server_name: str | None = None

    @classmethod
    def unix(cls, path: str | Path, token: str | Path | None = None) -> Endpoint:
        """Plain HTTP over a unix socket; the token is given as text or as the path of a file that holds it."""
        source = token_file(token) if isinstance(token, Path) else static_token(token) if token else None
        return cls(url="http://wherry", socket=str(path), token=source)

    @classmethod
    def remote(cls, url: str, authority: Path, token: Path) -> Endpoint:
        """HTTPS to a server that the authority in a PEM file vouches for, with the token in a file. Raises OSError."""
        return cls(url=url, ssl=ssl.create_default_context(cafile=str(authority)), token=token_file(token))

    @classmethod
    def from_kubeconfig(cls, path: str | Path | None = None, context: str | None = None) -> Endpoint:
        """The server and user of a kubeconfig context (default: ``$KUBECONFIG``, ``~/.kube/config``; current one).

        Raises ConfigError.
        """
        from wherry.kube.kubeconfig import load

        return load(path, context=context)

    @classmethod
    def in_cluster(cls, *, root: Path = _SERVICE_ACCOUNT) -> Endpoint:
        """The server as a pod sees it: environment variables and the mounted service account.

        Raises ConfigError outside of a pod.
        """
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise ConfigError("not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
        try:
            context = ssl.create_default_context(cafile=str(root / "ca.crt"))
            namespace = (root / "namespace").read_text().strip()
        except OSError as error:
            raise ConfigError(f"service account of the pod: {error}") from error
        address = f"[{host}]" if ":" in host else host
        return cls(url=f"https://{address}:{port}", ssl=context, token=token_file(root / "token"), namespace=namespace)


def static_token(token: str) -> TokenSource:
    """A token that never changes."""

    async def read() -> str:
        return token

    return read


def token_file(path: Path) -> TokenSource:
    """A token in a file, read again when the file changes (kubelets renew projected tokens in place)."""
    cached: tuple[tuple[int, int, int], str] | None = None

    async def read() -> str:
        nonlocal cached
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if cached is None or cached[0] != stamp:
            cached = (stamp, path.read_text().strip())
        return cached[1]

    return read

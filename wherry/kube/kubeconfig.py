"""kubeconfig files: clusters, users and contexts turned into an :class:`~wherry.kube.endpoint.Endpoint`.

Supports what kubectl's own files use: certificates by path or inline, tokens by value or file, exec plugins
(client.authentication.k8s.io/v1 and v1beta1), ``tls-server-name`` and ``insecure-skip-tls-verify``; several files in
``$KUBECONFIG`` are merged, the first to name an entry wins. Relative paths are relative to the file that holds them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wherry.kube.endpoint import ConfigError, Endpoint, TokenSource, static_token, token_file
from wherry.kube.times import parse_time

_EXEC_TIMEOUT = 60.0
_EXPIRY_MARGIN = 30.0


def load(path: str | Path | None = None, *, context: str | None = None) -> Endpoint:
    """The endpoint of a context; ConfigError says in one line what is missing or wrong."""
    config = _Merged(_files(path))
    name = context or config.current
    if not name:
        raise ConfigError(f"{config.where}: no current-context is set")
    chosen = config.entry("contexts", "context", name)
    cluster = config.entry("clusters", "cluster", str(chosen.body.get("cluster") or ""))
    user_name = str(chosen.body.get("user") or "")
    user = config.entry("users", "user", user_name) if user_name else _Entry({}, Path())
    server = str(cluster.body.get("server") or "").rstrip("/")
    if not server.startswith(("http://", "https://")):
        raise ConfigError(f"{config.where}: cluster of context {name!r} has no usable server URL: {server!r}")
    if cluster.body.get("proxy-url"):
        raise ConfigError(f"{config.where}: proxy-url is not supported (context {name!r})")
    plugin = _ExecPlugin(user.body["exec"], user.base) if user.body.get("exec") else None
    try:
        tls = _tls(cluster, user, plugin) if server.startswith("https://") else None
    except (OSError, ssl.SSLError, binascii.Error, ValueError) as error:
        raise ConfigError(f"{config.where}: TLS settings of context {name!r}: {error}") from error
    namespace = str(chosen.body.get("namespace") or "default")
    return Endpoint(
        url=server,
        ssl=tls,
        token=_token(user, plugin),
        namespace=namespace,
        server_name=str(cluster.body.get("tls-server-name") or "") or None,
    )


def _files(path: str | Path | None) -> list[Path]:
    if path is not None:
        return [Path(path)]
    if listed := os.environ.get("KUBECONFIG"):
        return [Path(part) for part in listed.split(os.pathsep) if part and Path(part).exists()] or [Path(listed)]
    return [Path.home() / ".kube" / "config"]


@dataclass(frozen=True, slots=True)
class _Entry:
    body: dict[str, Any]
    base: Path

    def file(self, key: str) -> Path | None:
        value = self.body.get(key)
        return self.base / Path(str(value)) if value else None

    def data(self, key: str) -> bytes | None:
        """Content given inline as ``<key>-data`` (base64), else by the path in ``<key>``."""
        if inline := self.body.get(f"{key}-data"):
            return base64.b64decode(str(inline), validate=True)
        path = self.file(key)
        return path.read_bytes() if path else None


class _Merged:
    def __init__(self, files: list[Path]) -> None:
        self.where = ", ".join(map(str, files))
        self.current = ""
        self._entries: dict[tuple[str, str], _Entry] = {}
        for file in files:
            self._add(file)

    def _add(self, file: Path) -> None:
        try:
            config = yaml.safe_load(file.read_bytes())
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"kubeconfig {file}: {error}") from error
        if not isinstance(config, dict):
            raise ConfigError(f"kubeconfig {file}: is no mapping")
        self.current = self.current or str(config.get("current-context") or "")
        for section, field in (("contexts", "context"), ("clusters", "cluster"), ("users", "user")):
            for item in config.get(section) or ():
                if not isinstance(item, dict) or not isinstance(item.get(field) or {}, dict):
                    raise ConfigError(f"kubeconfig {file}: malformed entry in {section}")
                entry = _Entry(item.get(field) or {}, file.absolute().parent)
                self._entries.setdefault((section, str(item.get("name"))), entry)

    def entry(self, section: str, field: str, name: str) -> _Entry:
        found = self._entries.get((section, name))
        if found is None:
            raise ConfigError(f"{self.where}: no {field} named {name!r}")
        return found


def _tls(cluster: _Entry, user: _Entry, plugin: _ExecPlugin | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca.decode() if (ca := cluster.data("certificate-authority")) else None)
    if cluster.body.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = user.data("client-certificate"), user.data("client-key")
    if certificate is None and plugin is not None:
        certificate, key = plugin.certificate()
    if certificate is not None:
        if key is None:
            raise ValueError("a client certificate without its key")
        with _on_disk(certificate + b"\n" + key) as path:
            context.load_cert_chain(path)
    return context


@contextmanager
def _on_disk(content: bytes) -> Iterator[str]:
    """OpenSSL loads certificates from files only; this one is readable by us alone and gone at once."""
    with tempfile.NamedTemporaryFile(prefix="wherry-", suffix=".pem") as file:
        file.write(content)
        file.flush()
        yield file.name


def _token(user: _Entry, plugin: _ExecPlugin | None) -> TokenSource | None:
    if path := user.file("tokenFile"):
        return token_file(path)
    if token := user.body.get("token"):
        return static_token(str(token))
    return plugin.token if plugin is not None else None


class _ExecPlugin:
    """A program that prints an ``ExecCredential``; its answer is kept until shortly before it expires."""

    def __init__(self, spec: Any, base: Path) -> None:
        if not isinstance(spec, dict) or not spec.get("command"):
            raise ConfigError("kubeconfig: exec plugin without command")
        command = str(spec["command"])
        self._argv = [str(base / command) if "/" in command else command, *map(str, spec.get("args") or ())]
        self._api_version = str(spec.get("apiVersion") or "client.authentication.k8s.io/v1")
        self._env = {str(item["name"]): str(item["value"]) for item in spec.get("env") or ()}
        self._hint = str(spec.get("installHint") or "")
        self._status: dict[str, Any] | None = None
        self._expires = 0.0

    def certificate(self) -> tuple[bytes | None, bytes | None]:
        """Client certificate and key in PEM, if the plugin gives one; asked once, while the endpoint is made."""
        status = self._credential()
        certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
        return (certificate.encode(), str(key or "").encode()) if isinstance(certificate, str) else (None, None)

    async def token(self) -> str:
        """The token to use now."""
        if self._status is None or time.time() >= self._expires:
            await asyncio.to_thread(self._credential)
        return str((self._status or {}).get("token") or "")

    def _credential(self) -> dict[str, Any]:
        import subprocess

        request = {"kind": "ExecCredential", "apiVersion": self._api_version, "spec": {"interactive": False}}
        try:
            done = subprocess.run(
                self._argv,
                env=os.environ | self._env | {"KUBERNETES_EXEC_INFO": json.dumps(request)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_EXEC_TIMEOUT,
                check=True,
            )
            status = json.loads(done.stdout)["status"]
            expiry = status.get("expirationTimestamp")
            self._expires = parse_time(expiry) - _EXPIRY_MARGIN if expiry else float("inf")
        except subprocess.CalledProcessError as error:
            detail = error.stderr.decode(errors="replace").strip()
            raise ConfigError(f"exec plugin {self._argv[0]}: exit status {error.returncode}: {detail}") from error
        except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, AttributeError) as error:
            raise ConfigError(f"exec plugin {self._argv[0]}: {error} {self._hint}".rstrip()) from error
        self._status = status
        return dict(status)

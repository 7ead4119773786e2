"""The few calls that the command line makes to a sandbox's API server, without a client library's start-up cost."""

from __future__ import annotations

import base64
import http.client
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from wherry.config.yaml import load


class ApiUnavailable(Exception):
    """The API server does not answer, or not as it should; the message says what came instead."""


class Api:
    """An API server as a kubeconfig with client certificates describes it."""

    def __init__(self, kubeconfig: Path) -> None:
        config = load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._host, _, port = cluster["server"].removeprefix("https://").rpartition(":")
        self._port = int(port)
        self._tls = ssl.create_default_context(cadata=_text(cluster["certificate-authority-data"]))
        # The ssl module reads client certificates from files only.
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(_text(user["client-certificate-data"]).encode() + _text(user["client-key-data"]).encode())
            pair.flush()
            self._tls.load_cert_chain(pair.name)

    def get(self, path: str, *, timeout: float = 10.0) -> Any:
        """GET a path and return its JSON. Raises ApiUnavailable."""
        return self._send("GET", path, timeout)

    def create(self, path: str, body: Any, *, timeout: float = 10.0) -> Any:
        """POST an object and return what the server made of it. Raises ApiUnavailable."""
        return self._send("POST", path, timeout, body=msgspec.json.encode(body))

    def delete(self, path: str, *, timeout: float = 10.0) -> None:
        """DELETE a path; that it is not there is fine. Raises ApiUnavailable."""
        self._send("DELETE", path, timeout, accept=(404,))

    def watch(self, path: str, *, timeout: float) -> Iterator[dict[str, Any]]:
        """Yield a watch's events until ``timeout`` seconds are over or the server ends it. Raises ApiUnavailable."""
        deadline = time.monotonic() + timeout
        connection = self._connection(timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            if response.status != 200:
                raise ApiUnavailable(f"{path}: {response.status} {response.read(500).decode(errors='replace')}")
            while line := response.readline():
                yield msgspec.json.decode(line)
                if connection.sock is not None:
                    connection.sock.settimeout(max(0.01, deadline - time.monotonic()))
        except TimeoutError:
            return
        except (OSError, http.client.HTTPException) as error:
            raise ApiUnavailable(f"{path}: {error}") from error
        finally:
            connection.close()

    def _send(
        self, method: str, path: str, timeout: float, *, accept: tuple[int, ...] = (), body: bytes | None = None
    ) -> Any:
        connection = self._connection(timeout)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ApiUnavailable(f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if not 200 <= response.status < 300 and response.status not in accept:
            raise ApiUnavailable(f"{method} {path}: {response.status} {answer[:500].decode(errors='replace')}")
        return msgspec.json.decode(answer) if "json" in response.headers.get("content-type", "") else answer

    def _connection(self, timeout: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._host.strip("[]"), self._port, timeout=timeout, context=self._tls)


def _text(data: str) -> str:
    return base64.b64decode(data).decode()

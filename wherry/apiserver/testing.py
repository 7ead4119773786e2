"""For tests: a server in the test's own loop, with TLS, a Unix socket and everything else switched on."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import aiohttp

from wherry.apiserver.config import ApiServerConfig, JoinFiles, KubeletFiles, TlsFiles
from wherry.apiserver.server import ApiServer
from wherry.kube import pki

ADMIN_TOKEN, ALICE_TOKEN, JOIN_TOKEN = "admin-token", "alice-token", "join-token"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@dataclass
class Answer:
    """What the server said; `body` is decoded where it is JSON."""

    status: int
    headers: Any
    body: Any


@dataclass
class Running:
    """A running server and ways to ask it."""

    server: ApiServer
    config: ApiServerConfig
    directory: Path
    unix: aiohttp.ClientSession
    port: int

    async def ask(
        self, method: str, path: str, body: Any = None, *, token: str = ADMIN_TOKEN, **headers: str
    ) -> Answer:
        """Make a request over the Unix socket; header names are given with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            named["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
            named.setdefault("Content-Type", "application/json")
        async with self.unix.request(method, f"http://wherry{path}", data=data, headers=named) as response:
            text = await response.read()
            is_json = response.content_type.endswith("json")
            return Answer(response.status, response.headers, json.loads(text) if is_json and text else text)

    async def eventually(self, path: str, wanted: Callable[[Answer], bool], within: float = 5.0) -> Answer:
        """Ask until the answer is as wanted."""
        async with asyncio.timeout(within):
            while True:
                answer = await self.ask("GET", path)
                if wanted(answer):
                    return answer
                await asyncio.sleep(0.02)

    def tls(self, certificate: str = "") -> ssl.SSLContext:
        """The client side of TLS, with one of the certificates (`carol` is an administrator, `dave` is not)."""
        context = ssl.create_default_context(cafile=str(self.directory / "ca.crt"))
        if certificate:
            context.load_cert_chain(self.directory / f"{certificate}.crt", self.directory / f"{certificate}.key")
        return context


def make_config(directory: Path) -> ApiServerConfig:
    """Settings with everything that a server can be given, all of it in `directory`."""
    authority = pki.Authority.load_or_create(directory / "ca.crt", directory / "ca.key", "test")
    if not (directory / "server.crt").exists():
        authority.issue_server("api", ["127.0.0.1"]).save(directory / "server.crt", directory / "server.key")
        authority.issue_client("carol", ["system:masters"]).save(directory / "carol.crt", directory / "carol.key")
        authority.issue_client("dave", ["dev"]).save(directory / "dave.crt", directory / "dave.key")
        pki.write_private(directory / "sa.key", pki.new_signing_key())
        (directory / "join-token").write_text(JOIN_TOKEN)
        (directory / "tokens.csv").write_text(f'{ADMIN_TOKEN},admin,1,"system:masters"\n{ALICE_TOKEN},alice,2,"dev"\n')
    unix, tcp = socket.socket(socket.AF_UNIX), socket.socket()
    path = directory / "api.sock"
    path.unlink(missing_ok=True)
    unix.bind(str(path))
    tcp.bind(("127.0.0.1", 0))
    own, pair = directory / "ca.crt", (directory / "ca.crt", directory / "ca.key")
    return ApiServerConfig(
        data_dir=directory,
        plain_sockets=(unix,),
        tls_sockets=(tcp,),
        tls=TlsFiles(certificate=directory / "server.crt", key=directory / "server.key", client_authority=own),
        kubelet=KubeletFiles(certificate=directory / "carol.crt", key=directory / "carol.key", authority=own),
        join=JoinFiles(token=directory / "join-token", server_authority=pair, client_authority=pair),
        token_file=directory / "tokens.csv",
        service_account_key=directory / "sa.key",
        service_cidrs=(IPv4Network("10.96.0.0/16"),),
    )


@asynccontextmanager
async def running(directory: Path, **changes: Any) -> AsyncIterator[Running]:
    """Run a server on `directory` for as long as the context lasts."""
    config = replace(make_config(directory), **changes)
    server = ApiServer(config)
    connector = aiohttp.UnixConnector(str(directory / "api.sock"))
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.run())
        starting = tasks.create_task(server.started.wait())
        try:
            await asyncio.wait((serving, starting), timeout=10, return_when=asyncio.FIRST_COMPLETED)
            yield Running(server, config, directory, session, config.tls_sockets[0].getsockname()[1])
        finally:
            starting.cancel()
            serving.cancel()
            await asyncio.wait((serving,))
            for sock in (*config.plain_sockets, *config.tls_sockets):
                sock.close()

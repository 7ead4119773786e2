"""Run one API server for tests: `serve.py DIRECTORY`; prints its HTTP port, serves until it is terminated.

DIRECTORY keeps the database and gets `tokens.csv` with a token of the administrators' group, keys and certificates, and
`kubeconfig` for the HTTPS port with an administrator's client certificate.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from ipaddress import IPv4Network
from pathlib import Path

import uvloop

from wherry.apiserver.config import ApiServerConfig, JoinFiles, KubeletFiles, TlsFiles
from wherry.apiserver.server import ApiServer
from wherry.kube import pki

TOKEN = "golden-admin-token"


JOIN_TOKEN = "join-token"
_KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: "https://127.0.0.1:{port}", certificate-authority: {directory}/ca.crt}}}}]
users: [{{name: admin, user: {{client-certificate: {directory}/admin.crt, client-key: {directory}/admin.key}}}}]
contexts: [{{name: test, context: {{cluster: test, user: admin}}}}]
current-context: test
"""


def listener() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


def credentials(directory: Path, port: int) -> None:
    key = directory / "service-account.key"
    if not key.exists():
        pki.write_private(key, pki.new_signing_key())
    authority = pki.Authority.load_or_create(directory / "ca.crt", directory / "ca.key", "test")
    authority.issue_server("kube-apiserver", ["127.0.0.1"]).save(directory / "server.crt", directory / "server.key")
    authority.issue_client("admin", ["system:masters"]).save(directory / "admin.crt", directory / "admin.key")
    pki.write_private(directory / "tokens.csv", f'{TOKEN},golden-admin,golden-admin-uid,"system:masters"\n'.encode())
    pki.write_private(directory / "join-token", JOIN_TOKEN.encode())
    pki.write_private(directory / "kubeconfig", _KUBECONFIG.format(port=port, directory=directory).encode())


async def serve(directory: Path) -> None:
    sock, tls_sock = listener(), listener()
    port = tls_sock.getsockname()[1]
    credentials(directory, port)
    authority = directory / "ca.crt"
    pair = (authority, directory / "ca.key")
    config = ApiServerConfig(
        data_dir=directory,
        plain_sockets=(sock,),
        tls_sockets=(tls_sock,),
        tls=TlsFiles(certificate=directory / "server.crt", key=directory / "server.key", client_authority=authority),
        kubelet=KubeletFiles(certificate=directory / "admin.crt", key=directory / "admin.key", authority=authority),
        join=JoinFiles(token=directory / "join-token", server_authority=pair, client_authority=pair),
        token_file=directory / "tokens.csv",
        service_account_key=directory / "service-account.key",
        service_cidrs=(IPv4Network("10.96.0.0/16"),),
        advertise_port=port,
    )
    server = ApiServer(config)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        await server.started.wait()
        print(sock.getsockname()[1], flush=True)


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))

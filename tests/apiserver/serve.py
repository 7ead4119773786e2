"""Run one API server for tests: `serve.py DIRECTORY`; prints the port, serves until it is terminated.

DIRECTORY keeps the database, and gets `tokens.csv` with a token of the administrators' group and a signing key.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from ipaddress import IPv4Network
from pathlib import Path

import uvloop

from wherry.apiserver.config import ApiServerConfig
from wherry.apiserver.server import ApiServer
from wherry.kube import pki

TOKEN = "golden-admin-token"


async def serve(directory: Path) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    tokens, key = directory / "tokens.csv", directory / "service-account.key"
    if not key.exists():
        pki.write_private(key, pki.new_signing_key())
    pki.write_private(tokens, f'{TOKEN},golden-admin,golden-admin-uid,"system:masters"\n'.encode())
    config = ApiServerConfig(
        data_dir=directory,
        plain_sockets=(sock,),
        token_file=tokens,
        service_account_key=key,
        service_cidrs=(IPv4Network("10.96.0.0/16"),),
        advertise_port=sock.getsockname()[1],
    )
    server = ApiServer(config)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        await server.started.wait()
        print(sock.getsockname()[1], flush=True)


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))

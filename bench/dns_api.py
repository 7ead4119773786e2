"""A loopback API server that lists a world and watches it, and an upstream resolver: what a DNS server has around it.

``python -m bench.dns_api SERVICES ENDPOINTS`` prints the ports of both, then obeys lines on stdin: ``slice NUMBER
SHIFT`` moves the endpoints of a service and prints when its event was written; ``churn RATE`` goes on moving others,
until RATE is 0.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast
from urllib.parse import parse_qs, urlsplit

from bench.dns_world import Item, encoded, endpoint_slice, items, lists

_EMPTY = b'{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}'


class Api:
    """Lists are encoded once; watches get what `move` says."""

    def __init__(self, world: list[Item]) -> None:
        self.world = world
        self._lists = {kind: encoded(kind, objects) for kind, objects in lists(world).items()}
        self._watches: list[asyncio.StreamWriter] = []
        self._version = 1

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readline():
                while (await reader.readline()).strip():
                    pass
                url = urlsplit(request.split()[1].decode())
                kind = url.path.rsplit("/", 1)[-1]
                query = parse_qs(url.query)
                if query.get("watch", ["0"])[0] in ("1", "true"):
                    if "sendInitialEvents" in query:
                        self._reply(writer, b'{"kind":"Status","status":"Failure","reason":"Invalid","code":422}', 422)
                        continue
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                    )
                    if kind == "endpointslices":
                        self._watches.append(writer)
                    await reader.read()
                    return
                self._reply(writer, self._lists.get(kind, _EMPTY), 200)
                await writer.drain()
        except ConnectionError:
            return  # the server under measurement has ended
        finally:
            writer.close()

    def _reply(self, writer: asyncio.StreamWriter, body: bytes, code: int) -> None:
        head = f"HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)

    def move(self, number: int, shift: int) -> None:
        """Give a service other endpoints."""
        self._version += 1
        moved = endpoint_slice(self.world[number], shift)
        moved["metadata"]["resourceVersion"] = str(self._version)
        event = json.dumps({"type": "MODIFIED", "object": moved}).encode() + b"\n"
        for watch in self._watches:
            watch.write(b"%x\r\n%b\r\n" % (len(event), event))


class Upstream(asyncio.DatagramProtocol):
    """Answers every question with two addresses that hold for an hour."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, client: tuple[str, int]) -> None:
        end = data.index(b"\x00", 12) + 5
        records = b"".join(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\xc0\x00\x02%c" % last for last in (1, 2))
        self._transport.sendto(data[:2] + b"\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00" + data[12:end] + records, client)


async def _churn(api: Api, rate: list[float]) -> None:
    """Move services of the second half, as many a second as asked for."""
    half = len(api.world) // 2
    count = 0
    while True:
        if not rate[0]:
            await asyncio.sleep(0.05)
            continue
        count += 1
        api.move(half + count % half, count % 7 + 1)
        await asyncio.sleep(1 / rate[0])


async def _main() -> None:
    api = Api(items(int(sys.argv[1]), int(sys.argv[2])))
    rate = [0.0]
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(api.serve, "127.0.0.1", 0)
    transport, _ = await loop.create_datagram_endpoint(Upstream, ("127.0.0.1", 0))
    print(server.sockets[0].getsockname()[1], transport.get_extra_info("sockname")[1], flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with asyncio.TaskGroup() as tasks:
        churn = tasks.create_task(_churn(api, rate))
        while line := (await reader.readline()).split():
            if line[0] == b"slice":
                now = time.monotonic()
                api.move(int(line[1]), int(line[2]))
                print(now, flush=True)
            else:
                rate[0] = float(line[1])
        churn.cancel()
    server.close()
    transport.close()


if __name__ == "__main__":
    asyncio.run(_main())

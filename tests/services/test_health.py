"""The port by which load balancers ask whether a node has endpoints."""

import json
import socket
import urllib.error
import urllib.request
from asyncio import to_thread
from contextlib import closing

import pytest

from wherry.kube.keys import Key
from wherry.services.health import HealthChecks
from wherry.services.model import NO_SERVICE, ServiceState

pytestmark = pytest.mark.netns
WEB, PORT = Key("shop", "web"), 31000


@pytest.fixture
def failures():
    return []


@pytest.fixture
async def checks(failures):
    checks = HealthChecks(lambda *what: failures.append(what))
    yield checks
    checks.close()


def ask(host="127.0.0.1", port=PORT):
    try:
        answer = urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=5)
    except urllib.error.HTTPError as error:
        answer = error
    with closing(answer):
        return answer.status, answer.headers["X-Load-Balancing-Endpoint-Weight"], json.load(answer)


def state(count, port=PORT):
    return {WEB: ServiceState(health_port=port, health_count=count)}


async def test_it_counts_endpoints_of_this_node(checks):
    said = {"service": {"namespace": "shop", "name": "web"}, "localEndpoints": 2, "serviceProxyHealthy": True}
    await checks.update(state(2))
    assert await to_thread(ask) == await to_thread(ask, "[::1]") == (200, "2", said)
    await checks.update(state(0))
    assert await to_thread(ask) == (503, "0", said | {"localEndpoints": 0})
    await checks.update(state(2))
    checks.healthy = False
    assert await to_thread(ask) == (503, "2", said | {"serviceProxyHealthy": False})


async def test_ports_change_and_go(checks):
    await checks.update(state(1))
    await checks.update(state(1, PORT + 1))
    assert (await to_thread(ask, port=PORT + 1))[0] == 200
    with pytest.raises(urllib.error.URLError):
        await to_thread(ask)
    await checks.update({WEB: NO_SERVICE})
    with pytest.raises(urllib.error.URLError):
        await to_thread(ask, port=PORT + 1)
    assert checks.keys() == []


async def test_a_taken_port_is_told_and_tried_again(checks, failures):
    with socket.create_server(("0.0.0.0", PORT)):
        await checks.update(state(1))
    [(key, port, error)] = failures
    assert (key, port) == (WEB, PORT)
    assert "in use" in str(error)
    await checks.update({})
    assert (await to_thread(ask))[0] == 200
    assert len(failures) == 1


async def test_a_client_that_says_nothing_right_gets_nothing(checks):
    await checks.update(state(1))

    def nonsense():
        with socket.create_connection(("127.0.0.1", PORT), 5) as client:
            client.sendall(b"x" * 40000)
            try:
                return client.recv(10)
            except ConnectionResetError:
                return b""

    assert await to_thread(nonsense) == b""
    assert (await to_thread(ask))[0] == 200

"""The table in a real kernel: what is written comes back, and nothing is written twice."""

import random
from ipaddress import ip_address
from itertools import product

import pytest
from msgspec import structs

from wherry.kernel.nft import Nft, NftError
from wherry.kube.keys import Key
from wherry.services import names
from wherry.services.apply import ServiceTable
from wherry.services.content import EMPTY
from wherry.services.model import ANY, NO_SERVICE, Backend, External, Frontend, ServiceState, Target
from wherry.services.readback import content_of

pytestmark = pytest.mark.netns
RANGES = names.Ranges(cluster=("10.42.0.0/16", "fd42::/48"), own=("10.42.0.0/24", "fd42::/64"))


def state(number, *hosts, sticky=0, local=(), protocol="tcp", families=(4, 6), drop=False):
    vips = {4: f"10.43.0.{number}", 6: f"fd43::{number}"}
    pods = {4: "10.42.0.", 6: "fd42::"}
    frontends = {}
    for family in families:
        targets = tuple(sorted(Target(ip_address(f"{pods[family]}{host}"), 8080) for host in hosts))
        frontends[Frontend(ip_address(vips[family]), protocol, 80)] = Backend(
            name=f"shop/s{number}/http", targets=targets, serving=frozenset(targets), sticky_seconds=sticky, drop=drop
        )
    return ServiceState(
        addresses=frozenset(frontend.address for frontend in frontends),
        frontends=frontends,
        hairpin=frozenset(ip_address(f"{pods[family]}{host}") for family in families for host in local),
    )


def key(number):
    return Key("shop", f"s{number}")


@pytest.fixture
async def table():
    table = ServiceTable(ranges=RANGES)
    yield table
    await table.close()


async def text():
    nft = Nft()
    objects = await nft.list_table("inet", names.TABLE)
    return content_of(objects, EMPTY)


async def test_a_second_start_writes_nothing(table):
    states = {
        key(1): state(1, 1, 2, 3, local=[1]),
        key(2): state(2, 1, sticky=60, local=[1]),
        key(3): state(3),
        key(4): state(4, drop=True),
        key(5): state(5, 5, protocol="udp", families=(4,)),
        key(6): state(6, 6, 7, protocol="sctp", families=(6,)),
    }
    await table.sync(states)
    assert table.batches == 1
    again = ServiceTable(ranges=RANGES)
    try:
        await again.sync(states)
        assert again.batches == 0
        # another start with targets in the kernel's order, not in ascending order
        await again.update({key(1): state(1, 2, 3, 4)})
        assert again.batches == 1
        await table.sync({**states, key(1): state(1, 2, 3, 4)})
        assert table.batches == 1
    finally:
        await again.close()


def external(number, *hosts, protocol="tcp", sticky=0, local=False, sources=()):
    """A service with a node port and a load balancer's address, in both families."""
    plain = state(number, *hosts, protocol=protocol, sticky=sticky)
    ways = {}
    for frontend, backend in plain.frontends.items():
        near = structs.replace(backend, local=True, targets=backend.targets[:1], drop=not backend.targets)
        way = External(cluster=backend, outside=near if local else None)
        version = frontend.address.version
        ways[Frontend(ANY[version], protocol, 30000 + number)] = way
        balancer = ip_address(f"192.0.2.{number}" if version == 4 else f"2001:db8::{number}")
        own = tuple(one for one in sources if (":" in one) == (version == 6))
        ways[Frontend(balancer, protocol, 80)] = structs.replace(way, sources=own)
    return structs.replace(plain, external=ways)


async def test_external_frontends_come_back_as_they_were_written(table):
    sources = ("192.0.2.0/24", "10.0.0.0/8", "fd00::/8")
    states = {
        key(number): external(number, *hosts, protocol=protocol, sticky=sticky, local=local, sources=admitted)
        for number, (hosts, protocol, sticky, local, admitted) in enumerate(
            product(((1, 2, 3), ()), ("tcp", "udp", "sctp"), (0, 60), (False, True), ((), sources)), 1
        )
    }
    foreign = ServiceState(foreign=frozenset({ip_address("10.43.0.99"), ip_address("fd43::99")}))
    states[key(0)] = foreign
    await table.sync(states)
    again = ServiceTable(ranges=RANGES)
    try:
        assert await again.sync(states) == ""
        assert again.batches == 0
    finally:
        await again.close()
    assert await table.verify() == ""
    # from each kind to each other, and back
    for shift in (1, 5, 17):
        numbers = [*states]
        await table.update({one: states[numbers[at - shift]] for at, one in enumerate(numbers)})
        assert await table.verify() == ""
    await table.update(dict.fromkeys(states, NO_SERVICE))
    left = await text()
    assert (left.elements, left.sets) == ({}, {})
    assert all(name.startswith(names.PICK) for name in left.chains)


async def test_one_endpoint_of_an_external_service_is_one_small_commit(table):
    await table.sync({key(number): external(number, 1, 2, 3) for number in range(1, 20)})
    batches = table.batches
    await table.update({key(3): external(3, 1, 2, 4)})
    assert table.batches == batches + 1


async def test_a_start_writes_only_what_is_wrong(table):
    await table.sync({key(1): state(1, 1, 2), key(2): state(2, 3)})
    nft = Nft()
    wrong = f"delete element inet {names.TABLE} services-4 {{ 10.43.0.1 . tcp . 80 }}"
    await nft.commit(f"{wrong}; add element inet {names.TABLE} addresses-4 {{ 10.43.9.9 }}")
    await nft.close()
    before = await text()
    await table.sync({key(1): state(1, 1, 2), key(2): state(2, 3)})
    after = await text()
    assert before.elements.items() ^ after.elements.items() == {
        ((names.SERVICES[4, ""], ("10.43.0.1", "tcp", "80")), "goto pick-4-tcp-2"),
        ((names.ADDRESSES[4], ("10.43.9.9",)), ""),
    }


async def test_a_table_of_another_release_is_replaced(table):
    nft = Nft()
    await nft.commit(f"add table inet {names.TABLE}; add chain inet {names.TABLE} old")
    await nft.close()
    await table.sync({key(1): state(1, 1)})
    assert "10.43.0.1" in str((await text()).elements)
    other = ServiceTable(ranges=names.Ranges(cluster=("10.99.0.0/16",)))
    await other.sync({key(1): state(1, 1)})
    assert other.batches == 1
    await other.close()


async def test_random_changes_end_where_a_fresh_start_does(table):
    chance = random.Random(7)
    await table.sync({})
    states = {}
    for _ in range(60):
        changed = {}
        for number in chance.sample(range(1, 6), chance.randint(1, 3)):
            hosts = chance.sample(range(1, 9), chance.randint(0, 6))
            one = state(
                number,
                *hosts,
                sticky=chance.choice([0, 0, 60]),
                local=[host for host in hosts if host < 4],
                protocol=chance.choice(["tcp", "udp"]),
                drop=not hosts and chance.random() < 0.5,
            )
            changed[key(number)] = NO_SERVICE if chance.random() < 0.2 else one
        states = {k: v for k, v in (states | changed).items() if v != NO_SERVICE}
        await table.update(changed)
    batches = table.batches
    await table.sync(states)
    assert table.batches == batches
    await table.update(dict.fromkeys(states, NO_SERVICE))
    left = await text()
    assert (left.elements, left.sets) == ({}, {})
    assert all(name.startswith(names.PICK) for name in left.chains)


async def test_a_refused_change_changes_nothing(table):
    await table.sync({key(1): state(1, 1)})
    bad = state(2, 2)
    frontend, backend = next(iter(bad.frontends.items()))
    worse = ServiceState(
        addresses=bad.addresses,
        frontends={frontend._replace(port=70000): backend},
    )
    with pytest.raises(NftError):
        await table.update({key(1): state(1, 1, 2), key(2): worse})
    await table.update({key(1): state(1, 1, 2, 3)})
    batches = table.batches
    await table.sync({key(1): state(1, 1, 2, 3)})
    assert table.batches == batches


async def test_removal_leaves_nothing(table):
    await table.sync({key(1): state(1, 1)})
    await table.remove()
    await table.remove()
    with pytest.raises(NftError):
        await text()

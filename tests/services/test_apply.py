"""The table in a real kernel: what is written comes back, and nothing is written twice."""

import random
from ipaddress import ip_address

import pytest

from wherry.kernel.nft import Nft, NftError
from wherry.kube.keys import Key
from wherry.services import names
from wherry.services.apply import ServiceTable
from wherry.services.content import EMPTY
from wherry.services.model import NO_SERVICE, Backend, Frontend, ServiceState, Target
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

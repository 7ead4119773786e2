"""Frontends that several services claim: one has each, whatever the order."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from wherry.kube.keys import Key
from wherry.services.claims import Claims, Denied
from wherry.services.model import NO_SERVICE, Backend, External, Frontend, ServiceState

SHARED = Frontend(ip_address("192.0.2.1"), "tcp", 80)
PLAIN = Frontend(ip_address("192.0.2.2"), "tcp", 80)
BACKEND = Backend(name="x")


def external(*frontends, created="2026-01-01T00:00:00Z"):
    return ServiceState(external=dict.fromkeys(frontends, External(cluster=BACKEND)), created=created)


def key(name):
    return Key("shop", name)


def test_the_older_service_has_it_and_the_other_keeps_the_rest():
    claims = Claims()
    young, old = external(SHARED, PLAIN, created="2026-02-01T00:00:00Z"), external(SHARED)
    assert claims.change({key("a"): young}) == {key("a"): young}
    granted = claims.change({key("b"): old})
    assert granted[key("b")] == old
    assert [*granted[key("a")].external] == [PLAIN]
    assert claims.denied(key("a")) == (Denied(SHARED, key("b")),)
    assert claims.denied(key("b")) == ()
    # its owner goes
    assert claims.change({key("b"): NO_SERVICE}) == {key("a"): young, key("b"): NO_SERVICE}
    assert claims.denied(key("a")) == ()


def test_a_services_own_address_comes_first():
    claims = Claims()
    own = ServiceState(frontends={SHARED: BACKEND}, created="2026-03-01T00:00:00Z")
    claims.change({key("a"): external(SHARED)})
    granted = claims.change({key("b"): own})
    assert (granted[key("b")], dict(granted[key("a")].external)) == (own, {})


frontends = st.sets(st.sampled_from([SHARED, PLAIN, SHARED._replace(port=81)]))
states = st.builds(lambda some, day: external(*some, created=f"2026-01-0{day}"), frontends, st.integers(1, 3))
steps = st.lists(st.tuples(st.sampled_from("abcd"), st.one_of(st.just(NO_SERVICE), states)), max_size=12)


@given(steps)
def test_whatever_the_order_the_end_is_the_same(steps):
    claims, granted = Claims(), {}
    for name, state in steps:
        granted |= claims.change({key(name): state})
    fresh = Claims().change(claims.all())
    assert {one: state for one, state in granted.items() if one in fresh} == fresh
    held = [frontend for state in fresh.values() for frontend in state.external]
    assert len(held) == len(set(held))
    assert set(held) == {frontend for state in claims.all().values() for frontend in state.external}

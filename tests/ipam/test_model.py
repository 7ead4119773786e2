"""Node ranges for any sequence of nodes coming, going and bringing ranges of their own."""

from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.ipam.model import NodeRanges
from wherry.net.errors import Exhausted
from wherry.net.types import IPNetwork

V4, V6 = ip_network("10.42.0.0/22"), ip_network("fd00:42::/62")


def nets(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(ip_network(text) for text in texts)


def test_dual_stack_gives_one_of_each_in_order() -> None:
    ranges = NodeRanges([V6, V4])
    assert ranges.allocate("a", "1") == nets("fd00:42::/64", "10.42.0.0/24")
    assert ranges.allocate("b", "2") == nets("fd00:42:0:1::/64", "10.42.1.0/24")
    assert ranges.allocate("a", "1") == nets("fd00:42::/64", "10.42.0.0/24")


def test_a_full_family_takes_nothing_of_the_other() -> None:
    ranges = NodeRanges([V4, ip_network("fd00:42::/63")])
    first = ranges.allocate("a", "1"), ranges.allocate("b", "2")
    with pytest.raises(Exhausted, match="fd00:42::/63"):
        ranges.allocate("c", "3")
    assert ranges.release("a")
    # 10.42.2.0/24 was tried and given back; the hand has passed it, so it waits for its round.
    assert ranges.allocate("c", "3") == nets("10.42.3.0/24", str(first[0][1]))
    assert not ranges.release("nobody")


def test_a_node_made_anew_gets_a_new_range() -> None:
    ranges = NodeRanges([V4])
    assert ranges.allocate("a", "1") == nets("10.42.0.0/24")
    assert ranges.allocate("a", "2") == nets("10.42.1.0/24")


def test_service_ranges_inside_are_never_given() -> None:
    ranges = NodeRanges([V4], service_cidrs=nets("10.42.0.0/24", "fd00::/112"))
    assert ranges.allocate("a", "1") == nets("10.42.1.0/24")
    ranges.occupy("odd", "2", nets("10.42.0.0/23"))
    ranges.release("odd")
    got = {ranges.allocate(name, name) for name in "bc"}
    assert got == {nets("10.42.2.0/24"), nets("10.42.3.0/24")}
    with pytest.raises(Exhausted):
        ranges.allocate("d", "d")


def test_odd_ranges_of_nodes_are_kept_and_named() -> None:
    ranges = NodeRanges([V4])
    assert ranges.occupy("a", "1", nets("10.42.1.128/25")) == []
    assert ranges.occupy("b", "2", nets("10.42.1.0/24")) == ["10.42.1.0/24 overlaps the range of node a"]
    assert ranges.occupy("c", "3", nets("192.0.2.0/24")) == ["192.0.2.0/24 is not in any cluster CIDR"]
    ranges.release("b")
    assert {str(ranges.allocate(name, name)[0]) for name in "xyz"} == {"10.42.0.0/24", "10.42.2.0/24", "10.42.3.0/24"}
    with pytest.raises(Exhausted):
        ranges.allocate("more", "m")
    ranges.release("a")
    assert ranges.allocate("more", "m") == nets("10.42.1.0/24")


def test_a_block_that_two_nodes_share_is_free_when_both_are_gone() -> None:
    ranges = NodeRanges([ip_network("10.42.0.0/24")])
    ranges.occupy("a", "1", nets("10.42.0.0/25"))
    ranges.occupy("b", "2", nets("10.42.0.128/25"))
    ranges.release("a")
    with pytest.raises(Exhausted):
        ranges.allocate("c", "3")
    ranges.release("b")
    assert ranges.allocate("c", "3") == nets("10.42.0.0/24")


@pytest.mark.parametrize("cidrs", [["10.42.0.0/16", "10.42.8.0/24"], ["10.42.0.0/25"], ["fd00::/32"]])
def test_unusable_cluster_cidrs_are_refused(cidrs: list[str]) -> None:
    with pytest.raises(ValueError):
        NodeRanges([ip_network(text) for text in cidrs])


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from("aro"), st.sampled_from("uvwxyz"), st.integers(0, 7)), max_size=40))
def test_given_ranges_never_overlap(steps: list[tuple[str, str, int]]) -> None:
    ranges = NodeRanges([V4])
    given_out: dict[str, IPNetwork] = {}
    brought: dict[str, IPNetwork] = {}
    for step, node, number in steps:
        if step == "a" and node not in brought:
            try:
                (got,) = ranges.allocate(node, node)
            except Exhausted:
                assert node not in given_out
                free = [one for one in V4.subnets(new_prefix=24) if not any(
                    one.overlaps(held) for held in (*given_out.values(), *brought.values()))]  # fmt: skip
                assert free == []
                continue
            if node in given_out:
                assert got == given_out[node]
            else:
                assert not any(got.overlaps(held) for held in (*given_out.values(), *brought.values()))
            given_out[node] = got
        elif step == "r":
            ranges.release(node)
            given_out.pop(node, None)
            brought.pop(node, None)
        elif step == "o":
            bring = list(V4.subnets(new_prefix=25))[number]
            ranges.occupy(node, node, (bring,))
            given_out.pop(node, None)
            brought[node] = bring

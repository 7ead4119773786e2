"""Addresses of interfaces, and the news of them."""

from __future__ import annotations

import select

import pytest

from wherry.kernel.addresswatch import AddressWatch, interface_addresses
from wherry.kernel.netlink import Netlink


@pytest.mark.netns
def test_addresses_are_listed_and_their_coming_and_going_is_noticed() -> None:
    with AddressWatch() as watch, Netlink() as link:
        assert interface_addresses() == {}
        link.link_add_bridge("br-a", up=True)
        link.addr_add("br-a", "169.254.7.7", 16)
        # Those of the link alone are no news.
        assert not watch.changed()
        for address, prefix in (("192.0.2.9", 24), ("10.0.0.1", 8), ("fd00::1", 64)):
            link.addr_add("br-a", address, prefix)
            assert select.select([watch], [], [], 5)[0]
            assert watch.changed()
            assert not watch.changed()
        assert interface_addresses() == {"br-a": ("10.0.0.1", "192.0.2.9", "fd00::1")}
        link.addr_del("br-a", "192.0.2.9", 24)
        assert watch.changed()
        link.link_del("br-a")
        assert watch.changed()
        assert interface_addresses() == {}

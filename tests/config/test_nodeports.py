"""Which addresses answer node ports: the service proxy's argument."""

import pytest

from wherry.config.errors import ConfigError
from wherry.config.nodeports import node_port_addresses, node_port_ranges


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], ()),
        (["nodeport-addresses=10.0.0.0/8"], ("10.0.0.0/8",)),
        (["--nodeport-addresses=10.0.0.0/8", "192.0.2.0/24", "fd00::/8"], ("10.0.0.0/8", "192.0.2.0/24", "fd00::/8")),
        (["nodeport-addresses=10.0.0.0/8", "nodeport-addresses=10.1.0.0/16"], ("10.0.0.0/8",)),
        (["nodeport-addresses=primary"], ("primary",)),
    ],
)
def test_node_port_addresses(texts, expected):
    assert node_port_addresses(texts) == expected


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        (["proxy-mode=ipvs"], "proxy-mode"),
        (["10.0.0.0/8"], "10.0.0.0/8"),
        (["nodeport-addresses=eth0"], "eth0"),
        (["nodeport-addresses=10.0.0.1/8"], "10.0.0.1/8"),
        (["nodeport-addresses=primary", "10.0.0.0/8"], "primary"),
    ],
)
def test_node_port_addresses_that_are_none(texts, named):
    with pytest.raises(ConfigError, match=named):
        node_port_addresses(texts)


def test_primary_stands_for_the_addresses_of_the_node():
    assert node_port_ranges(("primary",), ("172.30.0.11", "fd00:30::11")) == ("172.30.0.11", "fd00:30::11")
    assert node_port_ranges(("10.0.0.0/8",), ("172.30.0.11",)) == ("10.0.0.0/8",)

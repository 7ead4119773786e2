"""Where cluster DNS answers."""

from __future__ import annotations

import pytest

from wherry.config.errors import ConfigError
from wherry.config.resolve import resolve
from wherry.config.settings import Settings, settings_from

DUAL = {"cluster-cidr": ["10.42.0.0/16,fd00:42::/56"], "service-cidr": ["10.43.0.0/16,fd00:43::/112"]}


def settings(**flags: list[str]) -> Settings:
    given = {name.replace("_", "-"): texts for name, texts in flags.items()}
    return settings_from(resolve("server", given, {}), host_name="n")


def test_it_is_the_tenth_address_of_each_service_range() -> None:
    assert [str(one) for one in settings().cluster_dns] == ["10.43.0.10"]
    assert [str(one) for one in settings(**DUAL).cluster_dns] == ["10.43.0.10", "fd00:43::a"]


def test_addresses_may_be_given_the_ipv6_one_first() -> None:
    found = settings(**DUAL, cluster_dns=["fd00:43::53,10.43.0.53"]).cluster_dns
    assert [str(one) for one in found] == ["fd00:43::53", "10.43.0.53"]


@pytest.mark.parametrize("given", ["192.0.2.1", "fd00:43::a", "10.43.0.10,10.43.0.11"])
def test_addresses_that_a_service_cannot_have_are_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="--cluster-dns"):
        settings(cluster_dns=[given])


def test_another_dns_may_be_anywhere() -> None:
    found = settings(cluster_dns=["169.254.20.10,192.0.2.1"], disable=["coredns"]).cluster_dns
    assert [str(one) for one in found] == ["169.254.20.10", "192.0.2.1"]


@pytest.mark.parametrize("given", ["https://registry.example", "registry.example/path", "-x"])
def test_a_registry_is_a_host(given: str) -> None:
    with pytest.raises(ConfigError, match="--system-default-registry"):
        settings(system_default_registry=[given])
    assert settings(system_default_registry=["registry.example:5000"]).default_registry == "registry.example:5000"

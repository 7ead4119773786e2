"""What an agent says of its node to cloud controllers, by the settings."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.agent.cloud import cloud_identity
from wherry.cloud.ccm import names
from wherry.config.resolve import resolve
from wherry.config.settings import Settings, settings_from
from wherry.overlay.annotations import OVERWRITE

ADDRESSES = ("10.0.0.1", "fd00::1")
NAMED = {names.INTERNAL_IP: "10.0.0.1,fd00::1", names.HOSTNAME: "machine", names.PROVIDED_NODE_IP: "10.0.0.1,fd00::1"}


def settings(**flags: Any) -> Settings:
    given = {name.replace("_", "-"): [value] for name, value in flags.items()}
    return settings_from(resolve("server", {"config": ["/dev/null"], **given}, {}), host_name="machine")


@pytest.mark.parametrize(
    ("flags", "annotations", "taint"),
    [
        pytest.param({}, NAMED, True, id="promise-24-node-ip"),
        pytest.param(
            {"node_external_ip": "5.5.5.5,2001:db8::5", "node_internal_dns": "a.internal",
             "node_external_dns": "a.example,b.example"},
            {**NAMED, names.EXTERNAL_IP: "5.5.5.5,2001:db8::5", names.INTERNAL_DNS: "a.internal",
             names.EXTERNAL_DNS: "a.example,b.example"},
            True, id="promise-24-all",
        ),
        pytest.param({"disable_cloud_controller": "true", "node_external_ip": "5.5.5.5"}, {}, False,
                     id="promise-27-off-the-kubelet-tells"),
        pytest.param({"disable_cloud_controller": "true", "kubelet_arg": "cloud-provider=external"}, {}, True,
                     id="promise-28-off-and-external"),
        pytest.param(
            {"disable_cloud_controller": "true", "kubelet_arg": "cloud-provider=external", "node_ip": "10.0.0.1"},
            {names.PROVIDED_NODE_IP: "10.0.0.1,fd00::1"}, True, id="promise-27-the-user-s-choice-for-another",
        ),
        pytest.param({"kubelet_arg": "cloud-provider="}, {}, False, id="on-and-not-external"),
    ],
)  # fmt: skip
def test_what_is_said(flags: dict[str, str], annotations: dict[str, str], taint: bool) -> None:
    said = cloud_identity(settings(**flags), ADDRESSES, name="n1", host="machine")
    assert said.annotations == annotations
    every = {*names.SAID_BY_AGENTS, names.PROVIDED_NODE_IP}
    assert set(said.stale) == every - set(annotations)
    assert [(each.key, each.value, each.effect) for each in said.taints] == (
        [("node.cloudprovider.kubernetes.io/uninitialized", "true", "NoSchedule")] if taint else []
    )


@pytest.mark.parametrize(
    ("addresses", "overwrites"),
    [
        ("5.5.5.5,2001:db8::5", {OVERWRITE[4]: "5.5.5.5", OVERWRITE[6]: "2001:db8::5"}),
        ("5.5.5.5,6.6.6.6", {OVERWRITE[4]: "6.6.6.6"}),
        ("", {}),
    ],
)
def test_nodes_are_reached_by_their_external_addresses_where_that_is_wanted(
    addresses: str, overwrites: dict[str, str]
) -> None:
    for flag in ("true", "false"):
        flags = settings(node_external_ip=addresses, flannel_external_ip=flag)
        said = cloud_identity(flags, ADDRESSES, name="n1", host="machine")
        found = {key: text for key, text in said.annotations.items() if key in OVERWRITE.values()}
        assert found == (overwrites if flag == "true" else {})
        assert not set(OVERWRITE.values()) & set(said.stale), "people may have written these"


@pytest.mark.parametrize("host", ["", "localhost", "localhost.localdomain"])
def test_promise_29_a_host_without_a_name_is_called_as_its_node(host: str) -> None:
    said = cloud_identity(settings(node_name="n1"), ADDRESSES, name="n1", host=host)
    assert said.annotations[names.HOSTNAME] == "n1"

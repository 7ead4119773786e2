"""What the cloud controller makes of a node's annotations, row by row."""

from __future__ import annotations

import pytest

from tests.cloud.ccm_nodes import TAINT, listed, node
from wherry.cloud.ccm import names
from wherry.cloud.ccm.compile import (
    NotYet,
    WrongNodeIP,
    addresses_of,
    initialisation,
    label_copies,
    metadata_of,
    tainted,
)
from wherry.kube.objects.cluster import Taint

IN, EX, IND, EXD, HOST = "InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS", "Hostname"


def test_vector_12_and_promise_26_two_families_provider_id_labels_and_no_taint() -> None:
    it = node(said={names.INTERNAL_IP: "10.0.0.1,fd00::1"})
    metadata = metadata_of(it)
    assert listed(addresses_of(it, metadata)) == [(IN, "10.0.0.1"), (IN, "fd00::1")]
    patch = initialisation(it, metadata)
    assert patch["spec"] == {"providerID": "k3s://n1", "taints": None}
    assert patch["metadata"]["labels"] == {
        "beta.kubernetes.io/instance-type": "k3s",
        "node.kubernetes.io/instance-type": "k3s",
    }


ALL = {
    names.INTERNAL_IP: "10.0.0.1, fd00::1",
    names.EXTERNAL_IP: "5.5.5.5,2001:db8::5",
    names.INTERNAL_DNS: "a.internal",
    names.EXTERNAL_DNS: "a.example,b.example",
    names.HOSTNAME: "machine",
}


@pytest.mark.parametrize(
    ("said", "labels", "reported", "wanted"),
    [
        pytest.param(
            ALL, {}, (),
            [(IN, "10.0.0.1"), (IN, "fd00::1"), (EX, "5.5.5.5"), (EX, "2001:db8::5"), (IND, "a.internal"),
             (EXD, "a.example"), (EXD, "b.example"), (HOST, "machine")],
            id="promise-24-order-of-k3s",
        ),
        pytest.param(
            {names.INTERNAL_IP: "fd00::1,10.0.0.1"}, {}, (), [(IN, "fd00::1"), (IN, "10.0.0.1")], id="families-as-said"
        ),
        pytest.param(
            {}, {names.INTERNAL_IP: "10.0.0.1", names.EXTERNAL_IP: "5.5.5.5", names.HOSTNAME: "m"}, (),
            [(IN, "10.0.0.1"), (EX, "5.5.5.5"), (HOST, "m")], id="labels-of-old-agents",
        ),
        pytest.param(
            {names.INTERNAL_IP: "10.0.0.1"}, {names.INTERNAL_IP: "10.0.0.9"}, (), [(IN, "10.0.0.1")],
            id="annotation-before-label",
        ),
        pytest.param(
            {names.INTERNAL_IP: "10.0.0.1"}, {}, ((IN, "10.0.0.9"), (HOST, "kept"), (EX, "1.1.1.1")),
            [(IN, "10.0.0.1"), (HOST, "kept")], id="host-name-of-the-kubelet-stays",
        ),
        pytest.param(
            {names.INTERNAL_IP: "10.0.0.1,10.0.0.1"}, {}, (), [(IN, "10.0.0.1")], id="said-twice",
        ),
        pytest.param(
            {names.INTERNAL_IP: "10.0.0.1,10.0.0.2", names.EXTERNAL_IP: "5.5.5.5",
             names.PROVIDED_NODE_IP: "10.0.0.2"}, {}, (),
            [(IN, "10.0.0.2"), (EX, "5.5.5.5")], id="provided-address-alone-of-its-type",
        ),
        pytest.param(
            {names.INTERNAL_IP: "10.0.0.1,fd00::1", names.PROVIDED_NODE_IP: "fd00:0::1,10.0.0.1"}, {}, (),
            [(IN, "fd00::1"), (IN, "10.0.0.1")], id="provided-addresses-first-in-their-order",
        ),
        pytest.param(
            {names.INTERNAL_IP: "5.5.5.5", names.EXTERNAL_IP: "6.6.6.6,5.5.5.5", names.PROVIDED_NODE_IP: "5.5.5.5"},
            {}, (), [(IN, "5.5.5.5"), (EX, "5.5.5.5")], id="provided-address-of-two-types",
        ),
    ],
)  # fmt: skip
def test_addresses(
    said: dict[str, str],
    labels: dict[str, str],
    reported: tuple[tuple[str, str], ...],
    wanted: list[tuple[str, str]],
) -> None:
    it = node(said=said, labels=labels, addresses=reported)
    assert listed(addresses_of(it, metadata_of(it))) == wanted


@pytest.mark.parametrize(
    ("provided", "said"),
    [
        ("10.0.0.9", 'provided node ip for node "n1" is not valid: failed to get node address from cloud provider that '
         "matches ip: 10.0.0.9"),
        ("10.0.0.1,fd00::9", "matches ip: fd00::9"),
        ("ten", 'failed to parse node IP "ten"'),
    ],
)  # fmt: skip
def test_a_provided_address_that_the_node_has_not(provided: str, said: str) -> None:
    it = node(said={names.INTERNAL_IP: "10.0.0.1", names.PROVIDED_NODE_IP: provided})
    with pytest.raises(WrongNodeIP, match=said):
        addresses_of(it, metadata_of(it))


@pytest.mark.parametrize("said", [{}, {names.INTERNAL_IP: ""}, {names.EXTERNAL_IP: "5.5.5.5"}])
def test_a_node_that_has_not_said_its_addresses_is_not_known_yet(said: dict[str, str]) -> None:
    with pytest.raises(NotYet, match="address annotations not yet set"):
        metadata_of(node(said=said))


def test_what_a_node_has_already_is_kept() -> None:
    other = Taint(key="a", value="b", effect="NoExecute", time_added="2026-01-01T00:00:00Z")
    labels = {names.INSTANCE_TYPE: "pi", names.ZONE: "z", names.REGION: "r"}
    it = node(said={names.INTERNAL_IP: "10.0.0.1"}, labels=labels, taints=(other, TAINT), provider_id="x://y")
    patch = initialisation(it, metadata_of(it))
    assert patch["spec"]["providerID"] == "x://y"
    assert [taint["key"] for taint in patch["spec"]["taints"]] == ["a"]
    assert patch["spec"]["taints"][0]["timeAdded"] == "2026-01-01T00:00:00Z"
    assert patch["metadata"]["labels"] == {
        names.INSTANCE_TYPE: "pi", names.INSTANCE_TYPE_BETA: "pi", names.ZONE: "z", names.ZONE_BETA: "z",
        names.REGION: "r", names.REGION_BETA: "r",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "copies"),
    [
        ({}, {}),
        ({names.ZONE: "z"}, {}),
        ({names.ZONE_BETA: "z"}, {names.ZONE: "z"}),
        ({names.ZONE_BETA: "z", names.ZONE: "y"}, {names.ZONE: "z"}),
        ({names.REGION_BETA: "r", names.INSTANCE_TYPE_BETA: "t"}, {names.REGION: "r", names.INSTANCE_TYPE: "t"}),
        ({names.ZONE_BETA: "z", names.ZONE: "z"}, {}),
    ],
)
def test_beta_labels_are_copied(labels: dict[str, str], copies: dict[str, str]) -> None:
    assert label_copies(labels) == copies


def test_only_the_one_taint_means_waiting() -> None:
    assert tainted(node())
    assert not tainted(node(taints=(Taint(key="node.cloudprovider.kubernetes.io/shutdown", effect="NoSchedule"),)))

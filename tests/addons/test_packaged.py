"""The packaged manifests: their variables, where they are written, and what is in that of cluster DNS."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from wherry.addons import ownership, packaged
from wherry.addons.parse import ManifestError, parse

VALUES = packaged.variables(cluster_domain="cluster.local", cluster_dns=[ip_address("10.43.0.10")])
DUAL = packaged.variables(
    cluster_domain="example.internal",
    cluster_dns=[ip_address("fd00:43::a"), ip_address("10.43.0.10")],
    registry="registry.example:5000",
)


def coredns(values: dict[str, str]) -> dict[str, Any]:
    return {str(item): item.obj for item in parse(packaged.render(packaged.manifest("coredns"), values))}


def test_variables() -> None:
    assert (VALUES["CLUSTER_DNS"], VALUES["CLUSTER_DNS_LIST"]) == ("10.43.0.10", "[10.43.0.10]")
    assert (VALUES["CLUSTER_DNS_IPFAMILYPOLICY"], VALUES["SYSTEM_DEFAULT_REGISTRY"]) == ("SingleStack", "")
    assert DUAL["CLUSTER_DNS_LIST"] == "[fd00:43::a,10.43.0.10]"
    assert DUAL["CLUSTER_DNS_IPFAMILYPOLICY"] == "RequireDualStack"
    assert DUAL["SYSTEM_DEFAULT_REGISTRY"] == "registry.example:5000/"


def test_a_variable_that_nothing_sets_is_an_error() -> None:
    with pytest.raises(packaged.UnknownVariable):
        packaged.render("a: %{NOBODY}%", VALUES)
    assert packaged.render("100 %{", VALUES) == "100 %{"


def test_every_manifest_is_whole() -> None:
    for name in packaged.COMPONENTS:
        assert parse(packaged.render(packaged.manifest(name), VALUES))


def test_the_service_of_cluster_dns() -> None:
    spec = coredns(VALUES)["Service kube-system/kube-dns"]["spec"]
    assert (spec["clusterIP"], spec["clusterIPs"]) == ("10.43.0.10", ["10.43.0.10"])
    assert {(port["port"], port["protocol"]) for port in spec["ports"]} == {(53, "UDP"), (53, "TCP"), (9153, "TCP")}
    spec = coredns(DUAL)["Service kube-system/kube-dns"]["spec"]
    assert (spec["clusterIP"], spec["clusterIPs"]) == ("fd00:43::a", ["fd00:43::a", "10.43.0.10"])
    assert spec["ipFamilyPolicy"] == "RequireDualStack"


def test_the_pods_of_cluster_dns() -> None:
    spec = coredns(DUAL)["Deployment kube-system/coredns"]["spec"]
    assert "replicas" not in spec, "scaling by hand lasts"
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    assert container["image"].startswith("registry.example:5000/rancher/mirrored-coredns-coredns:")
    assert container["args"] == ["-conf", "/etc/coredns/Corefile"]
    assert pod["dnsPolicy"] == "Default"
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}
    optional = {volume["name"]: volume["configMap"].get("optional", False) for volume in pod["volumes"]}
    assert optional == {"config": False, "custom": True}


def test_the_corefile_names_the_domain_and_leaves_node_hosts_to_the_server() -> None:
    data = coredns(DUAL)["ConfigMap kube-system/coredns"]["data"]
    assert "kubernetes example.internal in-addr.arpa ip6.arpa {" in data["Corefile"]
    assert list(data) == ["Corefile"]


def test_edits_are_replaced_at_start(tmp_path: Path) -> None:
    folder = tmp_path / "server" / "manifests"
    packaged.stage(folder, VALUES, disabled=())
    path = folder / "coredns.yaml"
    text = path.read_text()
    assert "%{" not in text
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    path.write_text("edited")
    (folder / "mine.yaml").write_text("%{MINE}%")
    packaged.stage(folder, VALUES, disabled=())
    assert path.read_text() == text
    assert (folder / "mine.yaml").read_text() == "%{MINE}%"
    assert sorted(one.name for one in folder.iterdir()) == ["coredns.yaml", "mine.yaml"]


def test_what_is_disabled_is_not_written(tmp_path: Path) -> None:
    packaged.stage(tmp_path, VALUES, disabled=("coredns",))
    assert not (tmp_path / "coredns.yaml").exists()


def test_the_marks_are_those_of_k3s() -> None:
    """The digest that every K3s cluster shows on the objects of its DNS."""
    marked = ownership.marked({"metadata": {"name": "x", "labels": {"a": "b"}}}, "coredns")
    labels, annotations = marked["metadata"]["labels"], marked["metadata"]["annotations"]
    assert labels == {"a": "b", "objectset.rio.cattle.io/hash": "bce283298811743a0386ab510f2f67ef74240c57"}
    assert annotations["objectset.rio.cattle.io/owner-name"] == "coredns"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "line 2"),
        ("- 1", "no object"),
        ("kind: ConfigMap\napiVersion: v1", "no metadata.name"),
        ("kind: Boat\napiVersion: v1\nmetadata: {name: x}", "Boat x: v1 has no such kind"),
        ("kind: List\nitems: [{kind: ConfigMap}]", "no metadata.name"),
    ],
)
def test_a_bad_manifest_is_told_by_object(text: str, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        parse(text)


def test_lists_are_taken_apart_and_empty_documents_passed_over() -> None:
    text = """
# nothing
---
apiVersion: v1
kind: ConfigMapList
items:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
---
apiVersion: v1
kind: Namespace
metadata: {name: b}
"""
    assert [(str(item), item.namespace) for item in parse(text)] == [
        ("ConfigMap default/a", "default"),
        ("Namespace b", ""),
    ]

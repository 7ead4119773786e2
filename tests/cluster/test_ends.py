"""Deleting: namespaces with all that is in them, owners with what they own."""

from __future__ import annotations

import os

from tests.cluster.manifests import deployment, service, sleeper
from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds


def test_namespace_takes_everything_with_it(cluster: Sandbox) -> None:
    cluster.kubectl("create", "namespace", "doomed")
    cluster.apply(deployment("app", 3), service("app", 80, 8080), namespace="doomed")
    cluster.kubectl("-n", "doomed", "create", "configmap", "c", "--from-literal=a=b")
    cluster.kubectl("-n", "doomed", "create", "role", "r", "--verb=get", "--resource=pods")
    cluster.kubectl("-n", "doomed", "rollout", "status", "deploy/app", "--timeout=30s")
    cluster.kubectl("delete", "namespace", "doomed", "--timeout=40s")
    assert "not found" in cluster.kubectl("get", "namespace", "doomed", code=1).err
    for kind in ("pods", "deployments", "replicasets", "services", "endpointslices", "configmaps", "roles", "events"):
        assert cluster.get("-n", "doomed", kind)["items"] == []
    said = cluster.kubectl("-n", "doomed", "create", "configmap", "c", code=1).err
    assert 'namespaces "doomed" not found' in said
    cluster.kubectl("create", "namespace", "doomed")
    cluster.kubectl("delete", "namespace", "doomed", "--timeout=40s")


def test_no_new_objects_in_a_namespace_that_ends(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(sleeper("slow", terminationGracePeriodSeconds=4), namespace=namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/slow", "--timeout=30s")
    cluster.kubectl("create", "namespace", "ending")
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    cluster.apply(held, namespace="ending")
    cluster.kubectl("delete", "namespace", "ending", "--wait=false")
    said = cluster.kubectl("-n", "ending", "create", "configmap", "late", code=1).err
    assert "because it is being terminated" in said
    assert cluster.kubectl("get", "namespace", "ending", "--no-headers").out.split()[1] == "Terminating"
    found = cluster.until(
        kinds.NAMESPACES,
        lambda found: [n for n in found if n.name == "ending" and len(n.status.conditions) == 5],
    )
    (ending,) = [each for each in found if each.name == "ending"]
    told = {each.type: each.message for each in ending.status.conditions if each.status == "True"}
    assert told == {
        "NamespaceContentRemaining": "Some resources are remaining: configmaps. has 1 resource instances",
        "NamespaceFinalizersRemaining": "Some content in the namespace has finalizers remaining: "
        "example.com/hold in 1 resource instances",
    }
    cluster.kubectl("-n", "ending", "patch", "configmap", "held", "-p", '{"metadata":{"finalizers":null}}')
    cluster.kubectl("wait", "--for=delete", "namespace/ending", "--timeout=30s")


def test_owner_takes_what_it_owns(cluster: Sandbox, namespace: str) -> None:
    def names(kind: str) -> list[str]:
        return [obj["metadata"]["name"] for obj in cluster.get("-n", namespace, kind)["items"]]

    cluster.apply(deployment("app", 2), deployment("kept", 1), namespace=namespace)
    for name in ("app", "kept"):
        cluster.kubectl("-n", namespace, "rollout", "status", f"deploy/{name}", "--timeout=30s")
    owner = cluster.get("-n", namespace, "deployment", "app")["metadata"]
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app", "uid": owner["uid"]}
    owned = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned", "ownerReferences": [reference]}}
    cluster.apply(owned, namespace=namespace)
    cluster.kubectl("-n", namespace, "delete", "deployment", "kept", "--cascade=orphan")
    cluster.kubectl("-n", namespace, "delete", "deployment", "app", "--cascade=foreground", "--timeout=40s")
    assert [name for name in names("replicasets") if name.startswith("app-")] == []
    assert [name for name in names("pods") if name.startswith("app-")] == []
    cluster.kubectl("-n", namespace, "wait", "--for=delete", "configmap/owned", "--timeout=30s")
    # Orphans stay, without an owner.
    left = cluster.get("-n", namespace, "replicasets")["items"]
    assert [each["metadata"]["name"].startswith("kept-") for each in left] == [True]
    assert "ownerReferences" not in left[0]["metadata"]
    assert len(names("pods")) == 1


def test_object_whose_owner_never_was_is_collected(cluster: Sandbox, namespace: str) -> None:
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "nobody",
        "uid": "00000000-0000-0000-0000-000000000000",
    }
    orphan = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "orphan", "ownerReferences": [reference]}}
    cluster.apply(orphan, namespace=namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=delete", "configmap/orphan", "--timeout=30s")


def test_kinds_made_at_run_time_own_and_are_owned(cluster: Sandbox, namespace: str) -> None:
    group, plural = "ends.example.com", "boats"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": "boat", "kind": "Boat"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }  # fmt: skip

    def boat(name: str, *owners: dict[str, object], **metadata: object) -> dict[str, object]:
        return {"apiVersion": f"{group}/v1", "kind": "Boat",
                "metadata": {"name": name, "ownerReferences": list(owners), **metadata}}  # fmt: skip

    def reference(kind: str, name: str, api_version: str) -> dict[str, object]:
        uid = cluster.get("-n", namespace, kind, name)["metadata"]["uid"]
        return {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "blockOwnerDeletion": True}

    cluster.apply(definition)
    try:
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{plural}.{group}", "--timeout=20s")
        cluster.apply(boat("first"), namespace=namespace)
        cluster.apply(boat("second", reference("Boat", "first", f"{group}/v1")), namespace=namespace)
        cargo = reference("Boat", "second", f"{group}/v1")
        claim = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cargo", "ownerReferences": [cargo]}}
        cluster.apply(claim, namespace=namespace)
        cluster.kubectl("-n", namespace, "delete", "boat", "first", "--cascade=foreground", "--timeout=20s")
        assert cluster.kubectl("-n", namespace, "get", "boats,configmap/cargo", code=1).err
        # A circle holds nothing once both of it are let go.
        cluster.apply(boat("one"), boat("two"), namespace=namespace)
        one, two = (reference("Boat", name, f"{group}/v1") for name in ("one", "two"))
        cluster.apply(boat("one", two), boat("two", one), namespace=namespace)
        cluster.kubectl("-n", namespace, "delete", "boat", "one", "--cascade=foreground", "--timeout=20s")
        cluster.kubectl("-n", namespace, "wait", "--for=delete", "boat/two", "--timeout=20s")
    finally:
        cluster.kubectl("delete", "crd", f"{plural}.{group}", "--timeout=30s")


def test_deleted_pods_leave_nothing_on_their_node(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(*(sleeper(f"p{n}", nodeName="node-1") for n in range(4)), namespace=namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pods", "--all", "--timeout=30s")
    addresses = [p["status"]["podIP"] for p in cluster.get("-n", namespace, "pods")["items"]]
    uids = [p["metadata"]["uid"] for p in cluster.get("-n", namespace, "pods")["items"]]
    routes = cluster.wherry("node exec", "node-1", "--", "ip", "route").out
    assert all(f"{address} dev" in routes for address in addresses)
    cluster.kubectl("-n", namespace, "delete", "pods", "--all", "--timeout=30s")
    routes = cluster.wherry("node exec", "node-1", "--", "ip", "route").out
    assert [a for a in addresses if f"{a} dev" in routes] == []
    spaces = cluster.wherry("node exec", "node-1", "--", "ls", "/run/wherry/node-1/netns").out
    assert [uid for uid in uids if uid in spaces] == []
    logs = cluster.directory / "agent" / "node-1"
    left = [str(path) for uid in uids for path in logs.rglob(f"*{uid}*")]
    assert left == []
    assert os.path.isdir(logs)

"""Claims, volumes, classes and quotas: defaults, findings and admission."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.apiserver.kinds.model import Refusal
from wherry.apiserver.kinds.podspec.containers import check_containers
from wherry.apiserver.kinds.policy.quotas import RESOURCE_QUOTAS
from wherry.apiserver.kinds.storage.claims import PERSISTENT_VOLUME_CLAIMS
from wherry.apiserver.kinds.storage.classes import STORAGE_CLASSES
from wherry.apiserver.kinds.storage.volumes import PERSISTENT_VOLUMES

AFFINITY = {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}


def claim(**spec: Any) -> dict[str, Any]:
    body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    return {"metadata": {"name": "data", "namespace": "default"}, "spec": body}


def volume(**spec: Any) -> dict[str, Any]:
    body = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, **spec}
    obj = {"metadata": {"name": "v"}, "spec": body}
    PERSISTENT_VOLUMES.default(obj)
    return obj


def storage_class(name: str, created: str, *, default: bool) -> dict[str, Any]:
    annotations = {"storageclass.kubernetes.io/is-default-class": str(default).lower()}
    return {"metadata": {"name": name, "creationTimestamp": created, "annotations": annotations}, "provisioner": "p"}


def messages(errors: Any) -> list[str]:
    return [error.message for error in errors]


def test_a_claim_without_class_gets_the_youngest_default(server):
    server.seed("storage.k8s.io", "storageclasses", "", storage_class("old", "2025-01-01T00:00:00Z", default=True))
    server.seed("storage.k8s.io", "storageclasses", "", storage_class("new", "2025-06-01T00:00:00Z", default=True))
    server.seed("storage.k8s.io", "storageclasses", "", storage_class("other", "2025-09-01T00:00:00Z", default=False))
    for given, expected in ((claim(), "new"), (claim(storageClassName=""), ""), (claim(storageClassName="x"), "x")):
        PERSISTENT_VOLUME_CLAIMS.default(given)
        PERSISTENT_VOLUME_CLAIMS.admit_create(given, server.ctx)
        assert given["spec"]["storageClassName"] == expected
        assert given["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]


@pytest.mark.parametrize(("size", "text"), [("1Mi", "minimum"), ("9Gi", "maximum"), ("2Gi", "")])
def test_limit_ranges_bound_claims(server, size, text):
    item = {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "5Gi"}}
    limits = {"metadata": {"name": "l", "namespace": "default"}, "spec": {"limits": [item]}}
    server.seed("", "limitranges", "default", limits)
    given = claim(resources={"requests": {"storage": size}})
    if not text:
        PERSISTENT_VOLUME_CLAIMS.check_create(given, server.ctx)
        return
    with pytest.raises(Refusal, match=f"{text} storage usage per PersistentVolumeClaim is .*but request is {size}"):
        PERSISTENT_VOLUME_CLAIMS.check_create(given, server.ctx)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, "spec: Required value: must specify a volume type"),
        ({"hostPath": {"path": "/a/../b"}}, "must not contain '..'"),
        ({"hostPath": {"path": "/a"}, "nfs": {}}, "spec.nfs: Forbidden: may not specify more than 1 volume type"),
        ({"local": {"path": "/a"}}, "Local volume requires node affinity"),
        (
            {"hostPath": {"path": "/a"}, "persistentVolumeReclaimPolicy": "Keep"},
            'values: "Delete", "Recycle", "Retain"',
        ),
        ({"hostPath": {"path": "/a"}, "capacity": {}}, "spec.capacity: Required value"),
        ({"hostPath": {"path": "/a"}, "nodeAffinity": {}}, "must specify required node constraints"),
    ],
)
def test_findings_about_volumes(spec: dict[str, Any], expected: str) -> None:
    found = messages(PERSISTENT_VOLUMES.validate(volume(**spec)))
    assert any(expected in text for text in found), found


def test_a_good_volume_and_what_may_not_change() -> None:
    good = volume(local={"path": "/a"}, nodeAffinity=AFFINITY)
    assert PERSISTENT_VOLUMES.validate(good) == []
    assert good["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    moved = volume(local={"path": "/b"}, nodeAffinity=AFFINITY)
    assert "immutable after creation" in messages(PERSISTENT_VOLUMES.validate_update(moved, good))[0]


def test_classes_are_fixed_once_made() -> None:
    old, new = ({"metadata": {"name": "c"}, "provisioner": name} for name in ("a.example", "b.example"))
    for one in (old, new):
        STORAGE_CLASSES.default(one)
    assert STORAGE_CLASSES.validate(old) == []
    assert messages(STORAGE_CLASSES.validate_update(new, old)) == [
        "provisioner: Forbidden: updates to provisioner are forbidden."
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"hard": {"pods": "1.5"}}, "must be an integer"),
        ({"hard": {"services": "1"}, "scopes": ["BestEffort"]}, "unsupported scope applied to resource"),
        ({"hard": {"pods": "1"}, "scopes": ["Odd"]}, "unsupported scope"),
        (
            {
                "hard": {"pods": "1"},
                "scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]},
            },
            "must be at least one value",
        ),
    ],
)
def test_findings_about_quotas(spec: dict[str, Any], expected: str) -> None:
    found = messages(RESOURCE_QUOTAS.validate({"metadata": {"name": "q"}, "spec": spec}))
    assert any(expected in text for text in found), found


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({"restartPolicyRules": [{}]}, "must specify restartPolicy when restart rules are used"),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [{"action": "Stop", "exitCodes": {"operator": "In"}}]},
            'supported values: "Restart", "RestartAllContainers"',
        ),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "Is"}}]},
            'supported values: "In", "NotIn"',
        ),
        ({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}]}, "exitCodes: Required value"),
    ],
)
def test_findings_about_restart_rules(container: dict[str, Any], expected: str) -> None:
    errors: list[Any] = []
    base = {"name": "c", "image": "x", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}
    check_containers(errors, [base | container], (), "spec.containers")
    found = messages(errors)
    assert any(expected in text for text in found), found

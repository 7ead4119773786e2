"""A manifest of the corpus with what it must settle to, and the waiting for that on watches."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.cluster.corpus.compare import differences
from tests.cluster.corpus.likeness import filled
from tests.cluster.sandbox import Sandbox
from wherry.config.yaml import load_all
from wherry.sandbox.api import Api

HERE = Path(__file__).parent
WITHIN = 40.0
"""Seconds a stage may take to settle; nearly all of that is there for a machine that does other work."""

#: Where objects are found, for the kinds whose status the corpus names.
_PATHS = {
    "pod": "api/v1/pods", "service": "api/v1/services", "endpoints": "api/v1/endpoints",
    "replicationcontroller": "api/v1/replicationcontrollers", "persistentvolumeclaim": "api/v1/persistentvolumeclaims",
    "resourcequota": "api/v1/resourcequotas", "configmap": "api/v1/configmaps", "event": "api/v1/events",
    "deployment": "apis/apps/v1/deployments", "replicaset": "apis/apps/v1/replicasets",
    "statefulset": "apis/apps/v1/statefulsets", "daemonset": "apis/apps/v1/daemonsets",
    "controllerrevision": "apis/apps/v1/controllerrevisions",
    "job": "apis/batch/v1/jobs", "cronjob": "apis/batch/v1/cronjobs",
    "poddisruptionbudget": "apis/policy/v1/poddisruptionbudgets",
    "horizontalpodautoscaler": "apis/autoscaling/v2/horizontalpodautoscalers",
    "endpointslice": "apis/discovery.k8s.io/v1/endpointslices",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One manifest; its namespace is named after it."""

    name: str

    @property
    def namespace(self) -> str:
        """The namespace it is applied in."""
        return f"corpus-{self.name}"

    @property
    def manifest(self) -> Path:
        """The file that is applied."""
        return HERE / "manifests" / f"{self.name}.yaml"

    @cached_property
    def stages(self) -> list[dict[str, Any]]:
        """What must hold, one after the other; a stage may begin with kubectl commands."""
        return [stage for stage in load_all((HERE / "expected" / f"{self.name}.yaml").read_text()) if stage]

    def apply(self, cluster: Sandbox) -> None:
        """Make the namespace, and in it all that the manifest holds."""
        cluster.kubectl("create", "namespace", self.namespace)
        cluster.kubectl("-n", self.namespace, "apply", "-f", str(self.manifest))

    def remove(self, cluster: Sandbox) -> None:
        """Delete all that was applied, and wait until it is gone."""
        cluster.kubectl("delete", "-f", str(self.manifest), "-n", self.namespace, "--ignore-not-found", "--wait=false")
        cluster.kubectl("delete", "namespace", self.namespace, "--wait=false")
        # Nothing here has anything to finish, and a shell's `sleep` hears no SIGTERM.
        cluster.kubectl("-n", self.namespace, "delete", "pods", "--all", "--grace-period=1", "--wait=false")
        cluster.kubectl("wait", "--for=delete", f"namespace/{self.namespace}", "--timeout=60s", within=90)

    def settle(self, cluster: Sandbox) -> None:
        """Wait until every stage holds. Raises AssertionError with the differences that remain."""
        for stage in self.stages:
            unknown = stage.keys() - {"run", "objects", "events", "gone"}
            assert not unknown, f"{self.name}: no such part of an expectation: {unknown}"
            for command in stage.get("run", ()):
                cluster.kubectl("-n", self.namespace, *shlex.split(command))
            api = Api(cluster.kubeconfig)
            for expected in stage.get("objects", ()):
                self._wait(api, Expectation.of(expected))
            for expected in stage.get("events", ()):
                self._wait(api, EventExpectation(expected))
            for reference in stage.get("gone", ()):
                self._wait(api, Expectation.of({"of": reference, "count": 0}))

    def _wait(self, api: Api, expectation: Expectation | EventExpectation) -> None:
        said = ["nothing was seen"]
        for objects in _states(api, _path(self.namespace, expectation.kind), expectation.query, WITHIN):
            said = expectation.differences(objects)
            if not said:
                return
        lines = "\n  ".join(said)
        raise AssertionError(f"{self.name}: {expectation} did not settle within {WITHIN:g} s:\n  {lines}")


@dataclass(frozen=True)
class Expectation:
    """``of: KIND/NAME`` or ``of: KIND?SELECTOR`` (then ``count``); the other keys are compared with the object's."""

    kind: str
    query: dict[str, str]
    count: int
    parts: dict[str, Any]

    @classmethod
    def of(cls, written: dict[str, Any]) -> Expectation:
        """Read one as it is written."""
        reference = str(written["of"])
        kind, _, rest = re.split("([/?])", reference, maxsplit=1)
        selected = "?" in reference
        query = {"labelSelector": rest} if selected else {"fieldSelector": f"metadata.name={rest}"}
        parts = {key: filled(value) for key, value in written.items() if key not in ("of", "count")}
        return cls(kind, query, int(written.get("count", 1)), parts)

    def differences(self, objects: list[dict[str, Any]]) -> list[str]:
        """What is not as expected; metadata and spec are held against the keys named, all else wholly."""
        if len(objects) != self.count:
            return [f"{len(objects)} objects, expected {self.count}"]
        return [line for obj in objects for line in self._object(obj)]

    def _object(self, obj: dict[str, Any]) -> Iterator[str]:
        for part, expected in self.parts.items():
            actual = obj.get(part, {})
            if part in ("metadata", "spec"):
                actual = _same_keys(expected, actual)
            yield from differences(expected, actual, f"{obj['metadata']['name']}.{part}")

    def __str__(self) -> str:
        return f"{self.kind} {'&'.join(self.query.values())}"


class EventExpectation:
    """An event on an object ``KIND/NAME``, of a type, reason and message; the name may be a pattern too."""

    kind = "event"
    query: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, written: dict[str, Any]) -> None:
        self._kind, self._name = str(written["of"]).split("/", 1)
        self._parts = {"type": "Normal", **{key: value for key, value in written.items() if key != "of"}}

    def differences(self, objects: list[dict[str, Any]]) -> list[str]:
        """Nothing where one event is the expected one; else the events of that object."""
        there = []
        for event in objects:
            about = event["involvedObject"]
            if about["kind"].lower() == self._kind and not differences(self._name, about["name"]):
                if not differences(self._parts, _same_keys(self._parts, event)):
                    return []
                there.append(f"{event['type']} {event['reason']}: {event['message']}")
        return there or ["no events"]

    def __str__(self) -> str:
        return f"event {self._parts} on {self._kind}/{self._name}"


def _same_keys(expected: Any, actual: Any) -> Any:
    """The part of ``actual`` that ``expected`` speaks of."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        names = {key.removesuffix("?"): value for key, value in expected.items()}
        return {key: _same_keys(names[key], value) for key, value in actual.items() if key in names}
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        return [_same_keys(one, other) for one, other in zip(expected, actual, strict=True)]
    return actual


def _path(namespace: str, kind: str) -> str:
    group, _, plural = _PATHS[kind].rpartition("/")
    return f"/{group}/namespaces/{namespace}/{plural}"


def _states(api: Api, path: str, query: dict[str, str], within: float) -> Iterator[list[dict[str, Any]]]:
    """The objects there are, now and after every change until the time is over."""
    ends = time.monotonic() + within
    first = api.get(f"{path}?{urlencode(query)}")
    found = {item["metadata"]["uid"]: item for item in first["items"]}
    yield [*found.values()]
    revision = first["metadata"]["resourceVersion"]
    while (left := ends - time.monotonic()) > 0:
        words = {**query, "watch": "1", "resourceVersion": revision}
        for event in api.watch(f"{path}?{urlencode(words)}", timeout=left):
            obj = event["object"]
            revision = obj["metadata"]["resourceVersion"]
            if event["type"] == "DELETED":
                found.pop(obj["metadata"]["uid"], None)
            else:
                found[obj["metadata"]["uid"]] = obj
            yield [*found.values()]

"""Pods and what is seen of them, for the tables of plans and statuses."""

from __future__ import annotations

from typing import Any

import msgspec

from wherry.kube.objects import Pod
from wherry.pods.model import ContainerState
from wherry.pods.state import Attempt, Ending, SandboxState, image_hash
from wherry.pods.testing.node import container
from wherry.pods.testing.node import pod as pod_json

NOW = 1000.0
UP = {"sandbox": SandboxState(("10.42.0.2",)), "volumes": True}


def pod(*containers: dict[str, Any], **spec: Any) -> Pod:
    found = pod_json(containers=list(containers) or None, **spec)
    found["metadata"]["uid"] = "u-1"
    return msgspec.convert(found, Pod)


def attempt(name: str = "web", number: int = 0, *, code: int | None = None, at: float = NOW, **state: Any) -> Attempt:
    fields: dict[str, Any] = {"phase": "running"} if code is None else {"phase": "exited", "exit_code": code}
    fields |= {"started_at": at - 5, "finished_at": 0.0 if code is None else at} | state
    id_ = f"u-1_{name}_{number}_{image_hash('example.com/web:1')}"
    return Attempt(number, image_hash("example.com/web:1"), ContainerState(id=id_, pod_uid="u-1", name=name, **fields))


SIDECAR = container("proxy", restartPolicy="Always")
PROBED = container("proxy", restartPolicy="Always", startupProbe={"tcpSocket": {"port": 1}})
RULED = container(
    restartPolicy="Never",
    restartPolicyRules=[{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}],
)
ALL_ANEW = container(
    restartPolicy="Never",
    restartPolicyRules=[{"action": "RestartAllContainers", "exitCodes": {"operator": "NotIn", "values": [0, 1]}}],
)
PAIR = [container(), container("next")]
ENDING = Ending(deadline=NOW + 30, delete=True)

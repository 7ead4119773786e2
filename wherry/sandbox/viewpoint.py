"""Where something in a sandbox is looked at from: a node, or a pod on one, whose network this process can enter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wherry.kernel import netns
from wherry.sandbox.api import Api
from wherry.sandbox.control import ControlError, Reply, Request, ask
from wherry.sandbox.layout import RUN_DIR, Layout
from wherry.sandbox.visit import enter_node


class Viewpoint:
    """A pod, given as ``[NAMESPACE/]NAME``, or the first running node.

    Raises ConfigError where there is no such sandbox, ControlError where there is no such pod or no node runs, and
    ApiUnavailable.
    """

    def __init__(self, layout: Layout, pod: str = "") -> None:
        layout.load()
        self._reply: Reply = ask(layout.control, Request("status"))
        self._uid = ""
        self._own_network = False
        if pod:
            found = _find(Api(layout.kubeconfig), pod)
            self._uid = found["metadata"]["uid"]
            self._own_network = not found["spec"].get("hostNetwork")
            self.node: str = found["spec"]["nodeName"]
            self.address: str = found["status"]["podIP"]
            self.name = f"pod {found['metadata']['namespace']}/{found['metadata']['name']} on {self.node}"
            return
        running = next((node for node in self._reply.nodes if node.running), None)
        if running is None:
            raise ControlError("the sandbox has no running node to look from")
        self.node, self.address, self.name = running.name, running.addresses[0], f"node {running.name}"

    def enter_node(self) -> None:
        """Move this process into the node. Raises ControlError."""
        enter_node(self._reply, self.node)

    def enter(self) -> None:
        """Move this process on from the node into the pod's network, where the pod has one of its own."""
        if self._own_network:
            netns.enter(RUN_DIR / self.node / "netns" / self._uid)

    @property
    def resolv_conf(self) -> Path | None:
        """The pod's resolv.conf, as a process in its node sees it; None for a node."""
        return RUN_DIR / self.node / "sandboxes" / self._uid / "resolv.conf" if self._uid else None


def _find(api: Api, wanted: str) -> dict[str, Any]:
    namespace, _, name = wanted.rpartition("/")
    namespace = namespace or "default"
    listed: list[dict[str, Any]] = api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    for pod in listed:
        if pod["metadata"]["name"] == name:
            if pod["status"].get("phase") != "Running" or not pod["status"].get("podIP"):
                raise ControlError(f"pod {namespace}/{name} does not run")
            return pod
    known = ", ".join(pod["metadata"]["name"] for pod in listed) or "none"
    raise ControlError(f"there is no pod {name!r} in namespace {namespace}; pods there: {known}")

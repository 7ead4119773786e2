"""Short ways to write objects."""

from __future__ import annotations

from typing import Any


def pod(name: str, *command: str, image: str = "busybox:1.37", **spec: Any) -> dict[str, Any]:
    """A pod of one container, which runs ``command`` where one is given; ends fast when deleted."""
    container: dict[str, Any] = {"name": "main", "image": image}
    if command:
        container["command"] = list(command)
    container.update(spec.pop("container", {}))
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **spec},
    }  # fmt: skip


def sleeper(name: str, **spec: Any) -> dict[str, Any]:
    """A pod that does nothing for ever: to run commands in."""
    return pod(name, "sleep", "infinity", **spec)


def deployment(name: str, replicas: int, *, port: int = 8080, protocol: str = "TCP", **spec: Any) -> dict[str, Any]:
    """A Deployment of stand-ins that answer on ``port``."""
    container = {
        "name": "main", "image": f"registry.example/{name}:1",
        "ports": [{"containerPort": port, "protocol": protocol}],
    }  # fmt: skip
    container.update(spec.pop("container", {}))
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **spec},
            },
        },
    }  # fmt: skip


def service(name: str, port: int, target: int, *, protocol: str = "TCP", **spec: Any) -> dict[str, Any]:
    """A ClusterIP service in front of the pods labelled ``app: NAME``."""
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": port, "targetPort": target, "protocol": protocol}],
                 **spec},
    }  # fmt: skip

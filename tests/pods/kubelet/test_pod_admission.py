"""Pods that the node refuses: they fail at once, say why, and nothing of them is made."""

from __future__ import annotations

import pytest

from wherry.kube.kinds import PODS as _PODS
from wherry.pods import record
from wherry.pods.sandbox.manager import NoAddressLeft
from wherry.pods.testing.node import Node, pod


async def test_a_forbidden_sysctl_fails_the_pod_and_nobody_else(node: Node) -> None:
    async with node.running():
        sysctls = [{"name": "kernel.msgmax", "value": "65536"}]
        refused = node.put(pod("refused", securityContext={"sysctls": sysctls}))
        node.put(pod("web"))
        status = (await node.until_phase("Failed", "refused"))["status"]
        await node.until_ready("web")
        text = 'forbidden sysctl: "kernel.msgmax" not allowlisted'
        assert (status["reason"], status["message"]) == ("SysctlForbidden", f"Pod was rejected: {text}")
        assert not status.get("containerStatuses")
        assert status["startTime"]
        assert await node.until_event("SysctlForbidden") == text
        assert refused["metadata"]["uid"] not in node.sandboxes.known
    before = node.get("refused")
    async with node.running():
        await node.until(lambda: len(node.events()) > 0)
        await node.until_ready("web")
        assert node.get("refused")["status"] == before["status"]
        await node.client.delete(_PODS, "refused", namespace="default")
        await node.until(lambda: not node.exists("refused"))


async def test_a_pod_that_waits_for_an_address_gets_the_next_one(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    # So late that only being told of the address can be why it is tried again.
    monkeypatch.setattr(record, "_FIRST_RETRY", 3600.0)
    async with node.running():
        node.put(pod("first"))
        await node.until_ready("first")
        node.sandboxes.failures.append(NoAddressLeft("no IP addresses available"))
        node.put(pod("second"))
        text = "Failed to create pod sandbox: no IP addresses available"
        assert await node.until_event("FailedCreatePodSandBox") == text
        await node.client.delete(_PODS, "first", namespace="default")
        await node.until_ready("second")

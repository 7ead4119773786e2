"""Lives of containers on a real cluster: restart rules, sidecars, hooks, signals, last words, probes, debugging."""

from __future__ import annotations

from typing import Any

from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds

ONCE = "if [ -e /v/once ]; then cat /v/log > /dev/termination-log; exit 0; fi; touch /v/once; exit 42"
"""Ends with 42 the first time and with 0 the second, with the log's text as its last words."""
LOG = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}


def shell(name: str, script: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "command": ["sh", "-c", script], **fields}


def pod(name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    volumes = [{"name": "v", "emptyDir": {}}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": list(containers), "volumes": volumes, "terminationGracePeriodSeconds": 5, **spec},
    }


def rule(action: str, *codes: int) -> dict[str, Any]:
    rules = [{"action": action, "exitCodes": {"operator": "In", "values": list(codes)}}]
    return {"restartPolicy": "Never", "restartPolicyRules": rules}


def wait(cluster: Sandbox, namespace: str, name: str, path: str, value: str) -> None:
    cluster.kubectl("-n", namespace, "wait", f"pod/{name}", f"--for=jsonpath={{{path}}}={value}", "--timeout=30s")


def status(cluster: Sandbox, namespace: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get("-n", namespace, "pod", name)["status"]
    return found


def ended(found: dict[str, Any], name: str) -> dict[str, Any]:
    everyone = [*found.get("initContainerStatuses", ()), *found["containerStatuses"]]
    state: dict[str, Any] = next(one for one in everyone if one["name"] == name)["state"]["terminated"]
    return state


def test_restarts_ends_and_last_words(cluster: Sandbox, namespace: str) -> None:
    trap = "while :; do sleep 0.05; done"
    cluster.apply(
        pod("rules", shell("web", f"echo ran >> /v/log; {ONCE}", **LOG, **rule("Restart", 42)), restartPolicy="Never"),
        pod(
            "anew",
            shell("web", ONCE, **LOG, **rule("RestartAllContainers", 42)),
            initContainers=[shell("init", "echo init >> /v/log", **LOG)],
            restartPolicy="Never",
        ),
        pod(
            "late",
            shell("web", f"trap 'exit 9' USR1; {trap}", lifecycle={"stopSignal": "SIGUSR1"}),
            activeDeadlineSeconds=2,
            os={"name": "linux"},
        ),
        pod(
            "words",
            shell("web", "echo out; echo err >&2; exit 3", terminationMessagePolicy="FallbackToLogsOnError"),
            restartPolicy="Never",
        ),
        pod("missing", {"name": "web", "image": "busybox", "command": ["no-such-program"]}),
        namespace=namespace,
    )
    wait(cluster, namespace, "rules", ".status.phase", "Succeeded")
    found = status(cluster, namespace, "rules")["containerStatuses"][0]
    assert (found["restartCount"], found["lastState"]["terminated"]["exitCode"]) == (1, 42)
    assert cluster.kubectl("-n", namespace, "logs", "rules", "--previous").code == 0

    wait(cluster, namespace, "anew", ".status.phase", "Succeeded")
    found = status(cluster, namespace, "anew")
    assert ended(found, "web")["message"] == "init\ninit\n"
    assert {c["type"]: c["status"] for c in found["conditions"]}["AllContainersRestarting"] == "False"

    wait(cluster, namespace, "words", ".status.phase", "Failed")
    assert ended(status(cluster, namespace, "words"), "web")["message"] == "out\nerr\n"

    wait(cluster, namespace, "late", ".status.reason", "DeadlineExceeded")
    wait(cluster, namespace, "late", ".status.phase", "Failed")
    found = status(cluster, namespace, "late")
    assert found["message"] == "Pod was active on the node longer than the specified deadline"
    assert ended(found, "web")["exitCode"] == 9

    wait(cluster, namespace, "missing", ".status.containerStatuses[0].state.waiting.reason", "CrashLoopBackOff")
    last = status(cluster, namespace, "missing")["containerStatuses"][0]["lastState"]["terminated"]
    words = 'exec: "no-such-program": executable file not found in $PATH'
    assert (last["reason"], last["exitCode"], last["message"]) == ("StartError", 128, words)
    assert f"Error: {words}" in cluster.kubectl("-n", namespace, "describe", "pod", "missing").out


def test_sidecars_and_hooks(cluster: Sandbox, namespace: str) -> None:
    trap = "trap 'echo bye > /dev/termination-log; exit 0' TERM; while :; do sleep 0.05; done"
    greet = {"postStart": {"exec": {"command": ["sh", "-c", "sleep 0.3; touch /v/greeted"]}}}
    cluster.apply(
        pod(
            "job",
            shell("first", "sleep 1", lifecycle=greet, **LOG),
            shell("second", "ls /v > /dev/termination-log", **LOG),
            initContainers=[
                shell(
                    "proxy",
                    f"touch /v/up; {trap}",
                    restartPolicy="Always",
                    startupProbe={"exec": {"command": ["test", "-e", "/v/up"]}, "periodSeconds": 1},
                    **LOG,
                )
            ],
            restartPolicy="Never",
        ),
        pod(
            "rude",
            shell("web", "exec sleep 1000", lifecycle={"postStart": {"exec": {"command": ["false"]}}}),
            terminationGracePeriodSeconds=1,
        ),
        namespace=namespace,
    )
    wait(cluster, namespace, "job", ".status.phase", "Succeeded")
    found = status(cluster, namespace, "job")
    # The second was started after the first one's hook, and the sidecar ended after both, asked politely.
    assert ended(found, "second")["message"].split() == ["greeted", "up"]
    assert (ended(found, "proxy")["exitCode"], ended(found, "proxy")["message"]) == (0, "bye\n")
    wait(cluster, namespace, "rude", ".status.containerStatuses[0].restartCount", "1")
    said = cluster.kubectl("-n", namespace, "describe", "pod", "rude").out
    assert "FailedPostStartHook" in said
    assert "PostStartHook failed" in said


def test_grpc_probes_are_spoken(cluster: Sandbox, namespace: str) -> None:
    port = {"ports": [{"containerPort": 5000}], "image": "example.com/shop/cart:1"}
    probe = {"readinessProbe": {"grpc": {"port": 5000}, "periodSeconds": 1}}
    deaf = shell("web", "sleep 1000", readinessProbe={"grpc": {"port": 5000}, "periodSeconds": 1})
    cluster.apply(pod("cart", {"name": "web", **port, **probe}), pod("deaf", deaf), namespace=namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/cart", "--timeout=30s")
    event = ["-n", namespace, "events", "--for=pod/deaf", "--types=Warning"]
    cluster.kubectl("-n", namespace, "wait", "--for=jsonpath={.status.phase}=Running", "pod/deaf", "--timeout=30s")
    cluster.until(kinds.EVENTS, lambda seen: [e for e in seen if e.reason == "Unhealthy"], namespace=namespace)
    said = cluster.kubectl(*event).out
    assert "Readiness probe failed: timeout: failed to connect service" in said


def test_debugging(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(pod("shop", shell("web", "exec sleep 4711", resources={}), nodeName="node-1"), namespace=namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/shop", "--timeout=30s")
    debug = ["-n", namespace, "debug", "--image=busybox"]
    script = "ps ax -o args; cat /proc/1/comm; exit 4"
    cluster.kubectl(*debug, "shop", "--target=web", "-c", "look", "--", "sh", "-c", script)
    cluster.kubectl(*debug, "shop", "--copy-to=copy", "-c", "look", "--", "sleep", "1000")
    node = cluster.kubectl(*debug, "node/node-1", "--", "sh", "-c", "ls -d /host/etc; ps ax -o args").out
    wait(cluster, namespace, "shop", ".status.ephemeralContainerStatuses[0].state.terminated.exitCode", "4")
    seen = cluster.kubectl("-n", namespace, "logs", "shop", "-c", "look").out
    assert "sleep 4711" in seen
    assert seen.endswith("sleep\n")
    assert "look" in cluster.kubectl("-n", namespace, "describe", "pod", "shop").out.split("Ephemeral Containers:")[1]
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/copy", "--timeout=30s")
    debugger = node.split("pod ")[1].split()[0]
    wait(cluster, namespace, debugger, ".status.phase", "Succeeded")
    said = cluster.kubectl("-n", namespace, "logs", debugger).out
    assert "/host/etc" in said
    assert "sleep 4711" in said

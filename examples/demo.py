"""`make demo`: a two-node cluster, the example shop in it, every service reached across nodes, all gone again.

Everything below goes through the two programs that a user has, `wherry` and `kubectl`. KEEP=1 leaves the cluster there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NAME = "demo"
WHERRY = [str(Path(sys.executable).with_name("wherry"))]
SHOP = Path(__file__).with_name("shop")
SERVICES = [
    ("shop", "web"), ("shop", "storefront"), ("shop", "api"), ("shop", "counter"), ("shop", "reports"),
    ("shop-data", "cache"),
]  # fmt: skip
ROLLOUTS = [
    ("shop", "deployment/web"), ("shop", "deployment/api"), ("shop", "deployment/worker"),
    ("shop", "daemonset/counter"), ("shop", "daemonset/visitor"), ("shop-data", "deployment/cache"),
]  # fmt: skip
#: Calls of a service; with two equal endpoints the chance that all 40 stay on one node is 1 in 10^12.
CALLS = 40


def main() -> int:
    """Run the demonstration and return its exit code."""
    began = time.monotonic()
    subprocess.run([*WHERRY, "down", "--name", NAME], capture_output=True, check=False)
    step(began, "starting two nodes")
    run([*WHERRY, "up", "--name", NAME, "--nodes", "2"])
    try:
        ready = time.monotonic()
        step(began, f"applying {SHOP.relative_to(Path.cwd()) if SHOP.is_relative_to(Path.cwd()) else SHOP}")
        kubectl("apply", "-f", str(SHOP))
        for namespace, workload in ROLLOUTS:
            kubectl("-n", namespace, "rollout", "status", workload, "--timeout=60s")
        kubectl("-n", "shop", "wait", "--for=condition=Ready", "pod/reports", "--timeout=60s")
        # The load balancer has both nodes once its pods forward.
        balanced = "--for=jsonpath={.status.loadBalancer.ingress[1].ip}"
        kubectl("-n", "shop", "wait", balanced, "service/storefront", "--timeout=60s")
        running = time.monotonic()
        step(began, "the shop runs")
        print(run([*WHERRY, "kubectl", "--name", NAME, "get", "pods", "-A", "-o", "wide"]), flush=True)
        step(began, "calling every service from a pod on each node")
        rows, missing = visit_all()
        called = time.monotonic()
        show(rows)
        print(
            f"\ncluster ready after {ready - began:.1f} s, shop running after {running - ready:.1f} s more, "
            f"{len(rows)} paths checked in {called - running:.1f} s"
        )
        visitor = get("pods", "-n", "shop", "-l", "app=visitor")["items"][0]["metadata"]["name"]
        step(began, f"how shop/{visitor} finds cache.shop-data")
        print(run([*WHERRY, "dns", "explain", "--name", NAME, "cache.shop-data", "--from", f"shop/{visitor}"]), end="")
        for line in missing:
            print(f"demo: {line}", file=sys.stderr)
        return 1 if missing else 0
    finally:
        if os.environ.get("KEEP"):
            print(f"\nThe cluster is still there:  {' '.join(WHERRY)} kubectl --name {NAME} get all -A")
            print(f"Remove it by:                {' '.join(WHERRY)} down --name {NAME}")
        else:
            run([*WHERRY, "down", "--name", NAME])
            step(began, "removed again (make demo KEEP=1 keeps it)")


def visit_all() -> tuple[list[tuple[str, ...]], list[str]]:
    """Call each service port from each visitor until each node with an endpoint has answered."""
    pods = {
        address["ip"]: pod
        for pod in get("pods", "-A")["items"]
        for address in pod["status"].get("podIPs", [])
        if not pod["metadata"].get("deletionTimestamp")
    }
    names = {(p["metadata"]["namespace"], p["metadata"]["name"]): p["spec"]["nodeName"] for p in pods.values()}
    visitors = [p for p in pods.values() if p["metadata"]["labels"].get("app") == "visitor"]
    rows: list[tuple[str, ...]] = []
    missing: list[str] = []
    for namespace, name in SERVICES:
        service = get("service", "-n", namespace, name)["items"][0]
        slices = get("endpointslices", "-n", namespace, "-l", f"kubernetes.io/service-name={name}")["items"]
        homes = {e["nodeName"] for s in slices for e in s.get("endpoints", []) if e["conditions"]["ready"]}
        for port in service["spec"]["ports"]:
            for visitor in visitors:
                here = visitor["spec"]["nodeName"]
                scheme = "udp" if port["protocol"] == "UDP" else "http"
                for address in addresses(service, "shop"):
                    url = f"{scheme}://{address}:{port['port']}/"
                    answered, best = call(visitor["metadata"]["name"], url, names, homes)
                    who = "any" if scheme == "udp" or name == "reports" else ", ".join(sorted(answered)) or "nobody"
                    reached = "yes" if best is not None else "NO"
                    rows.append((f"{namespace}/{name}", url, here, who, reached, f"{best or 0:.1f} ms"))
                    if best is None:
                        missing.append(f"{url} ({namespace}/{name}) was not reached from {here}")
                    elif who != "any" and homes - answered:
                        silent = ", ".join(homes - answered)
                        missing.append(f"{url} ({namespace}/{name}): from {here} no pod on {silent} answered")
    return rows, missing


def addresses(service: dict[str, Any], caller: str) -> list[str]:
    """Where a pod of namespace ``caller`` calls a service: at the nodes that balance its load, or by its name."""
    ingress = service["status"].get("loadBalancer", {}).get("ingress", [])
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    return [point["ip"] for point in ingress] or [name if namespace == caller else f"{name}.{namespace}"]


def call(visitor: str, url: str, names: dict[tuple[str, str], str], homes: set[str]) -> tuple[set[str], float | None]:
    """Call a URL from a visitor until every node in ``homes`` has answered, and return who did and the best time."""
    answered: set[str] = set()
    best: float | None = None
    argv = [*WHERRY, "kubectl", "--name", NAME, "--", "-n", "shop", "exec", visitor, "--"]
    argv += ["python3", "/visit/visit.py", url, str(CALLS)]
    answer = subprocess.run(argv, capture_output=True, text=True, check=False)
    for line in answer.stdout.splitlines():
        said: dict[str, Any] = json.loads(line)
        best = said["ms"] if best is None else min(best, said["ms"])
        who = (said["answer"].get("namespace", ""), said["answer"].get("pod", ""))
        if who in names:
            answered.add(names[who])
    if answer.returncode:
        print(answer.stderr.strip(), file=sys.stderr)
        return answered, None
    return answered, best


def get(*arguments: str) -> dict[str, Any]:
    """`kubectl get` as JSON, always as a list."""
    text = run([*WHERRY, "kubectl", "--name", NAME, "--", "get", *arguments, "-o", "json"])
    found: dict[str, Any] = json.loads(text)
    return found if "items" in found else {"items": [found]}


def kubectl(*arguments: str) -> None:
    """Run kubectl and show what it says."""
    print(run([*WHERRY, "kubectl", "--name", NAME, "--", *arguments]).rstrip(), flush=True)


def run(argv: list[str]) -> str:
    """Run a program and return its output; a failure ends the demonstration with the program's own words."""
    answer = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if answer.returncode:
        sys.exit(f"demo: {' '.join(argv)} failed with exit code {answer.returncode}")
    return answer.stdout


def show(rows: list[tuple[str, ...]]) -> None:
    """Print the summary."""
    table = [("SERVICE", "ADDRESS", "FROM", "ANSWERED BY PODS ON", "REACHED", "BEST"), *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def step(began: float, text: str) -> None:
    """Say what happens now, and when."""
    print(f"\n== {time.monotonic() - began:4.1f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

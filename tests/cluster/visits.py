"""Calling addresses from inside pods."""

from __future__ import annotations

import json
from typing import Any

from tests.cluster.sandbox import Sandbox

_VISIT = """
import json, socket, sys, urllib.parse, urllib.request
url, times = urllib.parse.urlsplit(sys.argv[1]), int(sys.argv[2])
for _ in range(times):
    if url.scheme == "udp":
        with socket.socket(socket.AF_INET6 if ":" in url.hostname else socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.settimeout(5)
            peer.sendto(b"ahoy", (url.hostname, url.port))
            print(json.dumps({"text": peer.recv(2048).decode()}))
    else:
        request = urllib.request.Request(url.geturl(), headers={"Accept": "application/json"})
        with urllib.request.urlopen(request, timeout=5) as response:
            body = response.read().decode().strip()
        print(body if body.startswith("{") else json.dumps({"text": body}))
"""


def call(cluster: Sandbox, namespace: str, pod: str, url: str, times: int = 1) -> list[dict[str, Any]]:
    """Call ``http://`` or ``udp://`` so many times from a pod, each time anew, and return what was answered."""
    argv = ["-n", namespace, "exec", pod, "--", "python3", "-c", _VISIT, url, str(times)]
    return [json.loads(line) for line in cluster.kubectl(*argv).out.splitlines()]


def url(scheme: str, address: str, port: int) -> str:
    """An address in brackets where it needs them."""
    return f"{scheme}://[{address}]:{port}/" if ":" in address else f"{scheme}://{address}:{port}/"

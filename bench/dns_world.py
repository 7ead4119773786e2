"""The cluster that DNS servers are measured with: objects for our API, the same names for servers of zone files."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

NAMESPACES = 50
ZONE = "cluster.local"
FIRST4, FIRST6 = IPv4Address("10.64.0.1"), IPv6Address("fd00:64::1")
FIRST_POD = IPv4Address("10.128.0.1")
EXTERNAL = 200


class Item(NamedTuple):
    """A service: every tenth has IPv6 too, every tenth is headless with three endpoints."""

    number: int
    endpoints: int

    @property
    def name(self) -> str:
        return f"service-{self.number}"

    @property
    def namespace(self) -> str:
        return f"space-{self.number % NAMESPACES}"

    @property
    def domain(self) -> str:
        return f"{self.name}.{self.namespace}.svc.{ZONE}"

    @property
    def headless(self) -> bool:
        return self.number % 10 == 1

    @property
    def addresses(self) -> list[str]:
        if self.headless:
            return [str(self.pod(index)) for index in range(self.endpoints)]
        second = [str(FIRST6 + self.number)] if self.number % 10 == 2 else []
        return [str(FIRST4 + self.number), *second]

    def pod(self, index: int, shift: int = 0) -> IPv4Address:
        return FIRST_POD + (self.number * 16 + index + shift) % (1 << 22)


def items(count: int, endpoints: int = 3) -> list[Item]:
    return [Item(number, endpoints) for number in range(count)]


def lists(world: list[Item]) -> dict[str, list[dict[str, Any]]]:
    """Objects as an API server lists them, by plural."""
    return {
        "namespaces": [{"metadata": _meta(f"space-{number}", "")} for number in range(NAMESPACES)],
        "services": [_service(item) for item in world],
        "endpointslices": [endpoint_slice(item) for item in world],
        "pods": [],
        "nodes": [],
    }


def _meta(name: str, namespace: str, **labels: str) -> dict[str, Any]:
    meta = {"name": name, "uid": f"{namespace}-{name}", "resourceVersion": "1", "labels": labels}
    return meta | ({"namespace": namespace} if namespace else {})


def _service(item: Item) -> dict[str, Any]:
    addresses = ["None"] if item.headless else item.addresses
    return {
        "metadata": _meta(item.name, item.namespace),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": addresses[0],
            "clusterIPs": addresses,
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    }


def endpoint_slice(item: Item, shift: int = 0) -> dict[str, Any]:
    meta = _meta(f"{item.name}-x", item.namespace)
    meta["labels"]["kubernetes.io/service-name"] = item.name
    return {
        "metadata": meta,
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [str(item.pod(index, shift))], "conditions": {"ready": True}, "nodeName": f"node-{index}"}
            for index in range(item.endpoints)
        ],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def records(world: list[Item]) -> Iterator[tuple[str, str, str]]:
    """(owner, type, data) of every name, for zone files; owners and targets are absolute without the last dot."""
    for item in world:
        for address in item.addresses:
            yield item.domain, "AAAA" if ":" in address else "A", address
            if not item.headless:
                reverse = (IPv6Address if ":" in address else IPv4Address)(address).reverse_pointer
                yield reverse, "PTR", item.domain + "."
        if item.headless:
            for address in item.addresses:
                label = address.replace(".", "-")
                yield f"_http._tcp.{item.domain}", "SRV", f"0 33 8080 {label}.{item.domain}."
                yield f"{label}.{item.domain}", "A", address
        else:
            yield f"_http._tcp.{item.domain}", "SRV", f"0 100 80 {item.domain}."


def questions(world: list[Item]) -> list[str]:
    """What dnsperf asks: five questions for each service, in an order of their own."""
    lines = []
    for item in world:
        missing = f"{item.domain}.{item.namespace}.svc.{ZONE}"
        reverse = (FIRST4 + (item.number // 10 * 10)).reverse_pointer
        lines += [
            f"{item.domain} A",
            f"{item.domain} AAAA",
            f"_http._tcp.{item.domain} SRV",
            f"{reverse} PTR",
            f"{missing} A",
        ]
    random.Random(5).shuffle(lines)
    return lines


def external() -> list[str]:
    return [f"www-{number}.example.com A" for number in range(EXTERNAL)]


def encoded(kind: str, items: list[dict[str, Any]]) -> bytes:
    version = "discovery.k8s.io/v1" if kind == "endpointslices" else "v1"
    return json.dumps(
        {"kind": "List", "apiVersion": version, "metadata": {"resourceVersion": "1"}, "items": items}
    ).encode()

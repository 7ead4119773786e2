"""A cluster's objects in few words, zones made of them, and blocks that serve them from a fake API server."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from wherry.dns import names, records
from wherry.dns.kubernetes import compile as compiled
from wherry.dns.kubernetes.answer import answer, soa_record
from wherry.dns.kubernetes.lookup import IN_ADDR, IP6, Options
from wherry.dns.kubernetes.objects import Pod, PodAddresses, PodIP, ServiceImport
from wherry.dns.kubernetes.tables import Namespaces, Pending, Pods, Services, Slices
from wherry.dns.kubernetes.zone import Change, Zone
from wherry.dns.message import Question, rcode_name
from wherry.kube import objects as o
from wherry.kube.testing.apiserver import FakeApiServer

CLUSTER = names.from_text("cluster.local")
SERIAL = 1700000000
OPTIONS = Options(zones=(CLUSTER, IN_ADDR, IP6), primary=CLUSTER)


def meta(name: str, namespace: str = "default", **more: Any) -> o.ObjectMeta:
    return o.ObjectMeta(name=name, namespace=namespace, **more)


def namespace(name: str) -> o.Namespace:
    return o.Namespace(metadata=o.ObjectMeta(name=name))


def service(
    name: str, *ips: str, namespace: str = "default", ports: Iterable[str] = ("http:80/TCP",), external: str = ""
) -> o.Service:
    """A service; `None` as its address makes it headless. Ports are written `name:number/protocol`."""
    listed = []
    for text in ports:
        port, _, number = text.partition("/")[0].rpartition(":")
        listed.append(o.ServicePort(name=port, port=int(number), protocol=text.partition("/")[2] or "TCP"))
    kind = "ExternalName" if external else "ClusterIP"
    spec = o.ServiceSpec(
        type=kind, cluster_ip=ips[0] if ips else "", cluster_ips=ips, ports=tuple(listed), external_name=external
    )
    return o.Service(metadata=meta(name, namespace), spec=spec)


def endpoint(
    *addresses: str, hostname: str | None = None, ready: bool | None = True, pod: str = "", zone: str = ""
) -> o.Endpoint:
    return o.Endpoint(
        addresses=addresses,
        hostname=hostname,
        conditions=o.EndpointConditions(ready=ready),
        target_ref=o.ObjectReference(kind="Pod", name=pod) if pod else None,
        zone=zone or None,
    )


def endpoint_slice(
    owner: str,
    *endpoints: o.Endpoint,
    name: str = "",
    namespace: str = "default",
    ports: Iterable[str] = ("http:8080/TCP",),
    labels: dict[str, str] | None = None,
) -> o.EndpointSlice:
    listed = []
    for text in ports:
        port, _, number = text.partition("/")[0].rpartition(":")
        listed.append(o.EndpointPort(name=port, port=int(number), protocol=text.partition("/")[2] or "TCP"))
    labels = {o.SERVICE_NAME_LABEL: owner} if labels is None else labels
    return o.EndpointSlice(
        metadata=meta(name or f"{owner}-a", namespace, labels=labels), endpoints=endpoints, ports=tuple(listed)
    )


def pod(name: str, *ips: str, namespace: str = "default", labels: dict[str, str] | None = None, **more: Any) -> Pod:
    status = PodAddresses(pod_ip=ips[0] if ips else "", pod_ips=tuple(PodIP(ip=ip) for ip in ips))
    return Pod(metadata=meta(name, namespace, labels=labels or {}, **more), status=status)


def change_of(*objects: o.KubeObject, pod_names: bool = False, zonal: bool = False) -> Change:
    """The change that these objects make in an empty zone. Their namespaces exist."""
    pending = Pending()
    namespaces, services, pods = Namespaces(pending), Services(pending), Pods(pending)
    imports = Services(pending, imported=True)
    slices = Slices(pending, pod_names=pod_names, zonal=zonal)
    import_slices = Slices(pending, pod_names=pod_names, imported=True)
    for name in sorted({obj.namespace for obj in objects} - {""}):
        namespaces.put(namespace(name))
    for obj in objects:
        match obj:
            case o.Namespace():
                namespaces.put(obj)
            case o.Service():
                services.put(obj)
            case o.EndpointSlice():
                slices.put(obj)
                import_slices.put(obj)
            case Pod():
                pods.put(obj)
            case ServiceImport():
                imports.put(obj)
    return pending.take()._replace(serial=SERIAL, synced=True)


def zone_of(*objects: o.KubeObject, pod_names: bool = False, zonal: bool = False) -> Zone:
    zone = Zone()
    zone.apply(change_of(*objects, pod_names=pod_names, zonal=zonal))
    return zone


def key(name: str, namespace: str = "default") -> bytes:
    return compiled.key_of(namespace, name)


def lines(section: Iterable[records.Record]) -> list[str]:
    """Records as a zone file writes them, without the TTL where it is the usual one."""
    return [
        f"{names.to_text(r.name)} {r.ttl} {records.type_name(r.type)} {records.rdata_text(r)}".replace(" 5 ", " ", 1)
        for r in section
    ]


def ask(zone: Zone, text: str, options: Options = OPTIONS) -> list[str]:
    """What a zone says to `NAME TYPE`: the rcode where it is an error, answers, `+` and what comes along, or `SOA`."""
    name, kind = text.split()
    found = answer(zone, options, Question(names.from_text(name), records.type_number(kind)))
    if found is None:
        return ["not ours"]
    said = [] if found.rcode == 0 else [rcode_name(found.rcode)]
    said += lines(found.answer) + [f"+ {line}" for line in lines(found.additional)]
    if found.soa:
        assert soa_record(zone, options, found.apex).name == found.apex
        said.append("SOA")
    if found.external:
        said.append(f"> {names.to_text(found.external)}")
    if found.passes:
        said.append("passes")
    return said


@asynccontextmanager
async def api_server() -> AsyncIterator[FakeApiServer]:
    # a unix socket's path may have at most 107 bytes; tmp_path can be longer
    with tempfile.TemporaryDirectory(prefix="wherry-") as directory:
        async with FakeApiServer(Path(directory) / "api.sock") as fake:
            yield fake

"""What a name means, for metadata (`view`, `log`) and for people who ask why they got an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from wherry.dns import names
from wherry.dns.kubernetes.answer import zone_of
from wherry.dns.kubernetes.lookup import Options, lookup, reverse_address
from wherry.dns.kubernetes.packed import text_of
from wherry.dns.kubernetes.tables import PodRow
from wherry.dns.kubernetes.zone import ADDRESS_TAG, IMPORTED, Entry, Zone
from wherry.dns.message import Question
from wherry.dns.plugin import Request

_KINDS = (b"svc", b"pod")


def describe(request: Request, options: Options, pods: Sequence[PodRow]) -> None:
    """Add CoreDNS' keys ``kubernetes/…`` to a request's metadata; `pods` are those with the client's address."""
    metadata = request.metadata
    if pods:
        client = pods[0]
        metadata["kubernetes/client-namespace"] = _given(client.namespace)
        metadata["kubernetes/client-pod-name"] = _given(client.name)
        for key, value in (client.labels or {}).items():
            metadata[f"kubernetes/client-label/{key}"] = _given(value)
    folded = request.folded
    zone = zone_of(folded, options)
    if zone is None:
        return
    parts = _parts([_text(label) for label in names.labels(folded[: len(folded) - len(zone)] + b"\x00")], zone, options)
    if parts is None:
        metadata["kubernetes/parse-error"] = _given("invalid query name")
        return
    for key, value in parts.items():
        metadata[f"kubernetes/{key}"] = _given(value)


def _parts(labels: list[str], zone: bytes, options: Options) -> dict[str, str] | None:
    """The parts of a name below the zone; None where it is none of the cluster's."""
    parts = dict.fromkeys(("port-name", "protocol", "endpoint", "service", "namespace", "kind"), "")
    imported = zone in options.imported
    parts |= {"cluster": ""} if imported else {}
    parts |= {"zone": ""} if options.zonal else {}
    if not labels:
        return parts
    if labels[-1].encode() not in _KINDS:
        return None
    for key, label in zip(("kind", "namespace", "service"), reversed(labels), strict=False):
        parts[key] = label
    match labels[:-3]:
        case []:
            pass
        case [endpoint]:
            parts["endpoint"] = endpoint
        case [endpoint, cluster] if imported and not endpoint.startswith("_") and not cluster.startswith("_"):
            parts |= {"endpoint": endpoint, "cluster": cluster}
        case [port, protocol]:
            parts |= {"port-name": port.removeprefix("_"), "protocol": protocol.removeprefix("_")}
        case [*place, "pin" | "prefer", "_zone"] if options.zonal and not imported and labels[-1] == "svc":
            parts["zone"] = ".".join(place)
        case _:
            return None
    return parts


def _given(value: str) -> Callable[[], str]:
    return lambda: value


def _text(label: bytes) -> str:
    return label.decode("ascii", "backslashreplace")


def explain(zone: Zone, options: Options, question: Question) -> Iterator[str]:
    """The objects that an answer comes from, one line each."""
    if not zone.synced:
        yield "the API server's objects are not all known yet"
    folded = question.name.lower()
    own = zone_of(folded, options)
    if own is None:
        return
    address = reverse_address(folded, names.labels(folded))
    if address is not None:
        for entry in zone.holders(address):
            yield from _objects(entry)
        return
    found = lookup(zone, options, own, names.labels(folded[: len(folded) - len(own)] + b"\x00"))
    if found is None or not found.tag:
        return
    if found.tag.startswith(ADDRESS_TAG):
        yield f"a Pod with address {text_of(found.tag[1:])}"
    elif found.tag in zone.entries:
        yield from _objects(zone.entries[found.tag])
    else:
        yield f"Namespace {_text(found.tag[1:])}"


def _objects(entry: Entry) -> Iterator[str]:
    name, namespace = names.labels(entry.key.removeprefix(IMPORTED) + b"\x00")
    imported = entry.key.startswith(IMPORTED)
    if entry.service:
        yield f"{'ServiceImport' if imported else 'Service'} {_text(namespace)}/{_text(name)}"
    for part in entry.slices[::2]:
        yield f"EndpointSlice {_text(namespace)}/{_text(part)}"

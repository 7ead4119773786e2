"""What a zone says to a question: pure, and the same in the back and in every front.

The rules are those of the Kubernetes DNS specification 1.1.0 with CoreDNS' extensions
(https://coredns.io/plugins/kubernetes/): SRV for whole services and endpoints, addresses under port names, names of
endpoints also where the service has an address. Which names exist does not depend on the type that is asked for, with
two exceptions that are CoreDNS': SOA is never NXDOMAIN, and TXT is NXDOMAIN for names that only other names make exist
(`svc`, namespaces).
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from wherry.dns import names, records
from wherry.dns.kubernetes.lookup import Found, Options, lookup, own_names, reverse_address, reverse_targets
from wherry.dns.kubernetes.packed import NO_PORT
from wherry.dns.kubernetes.zone import ADDRESS_TAG, Zone
from wherry.dns.message import NOERROR, NXDOMAIN, REFUSED, SERVFAIL, Question
from wherry.dns.records import Record

VERSION = "1.1.0"
"""Of the specification (section 2.2)."""
_VERSION_TTL = 28800
_LONGEST_CHAIN = 11
_MOST_SOA_TTL = 300
_SRV = Struct("!HHH")
_NS = [b"ns", b"dns"]


class Answer(NamedTuple):
    """A reply without its SOA, which is the same for a whole zone and which whoever sends it may have ready."""

    rcode: int
    answer: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    soa: bool = False
    """Whether the authority section is soa_record() of `apex`."""
    apex: bytes = b"\x00"
    """The zone, spelled as the question spells it."""
    tag: bytes | None = None
    """What Zone.apply() returns once this is no longer true; None: work it out again each time."""
    external: bytes | None = None
    """The name outside of the zone that `answer` ends at: what our whole server says to it comes after."""
    passes: bool = False
    """Whether the next plugin is to be asked, since this name does not exist here (`fallthrough`)."""


def soa_record(zone: Zone, options: Options, apex: bytes) -> Record:
    """The SOA record of a zone (RFC 2308: its TTL and minimum are how long denials hold)."""
    return records.soa(
        apex,
        min(options.ttl, _MOST_SOA_TTL),
        b"\x02ns\x03dns" + apex,
        b"\x0ahostmaster" + apex,
        zone.serial,
        7200,
        1800,
        86400,
        options.ttl,
    )


def zone_of(folded: bytes, options: Options) -> bytes | None:
    """The zone that a folded name is in, None where it is in none."""
    for zone in options.zones:
        if folded.endswith(zone) and names.is_within(folded, zone):
            return zone
    return None


def answer(zone: Zone, options: Options, question: Question) -> Answer | None:
    """What to say to a question; None where its name is in none of the zones."""
    name, kind = question.name, question.type
    folded = name.lower()
    own = zone_of(folded, options)
    if own is None:
        return None
    apex = name[len(name) - len(own) :]
    labels = names.labels(folded[: len(folded) - len(own)] + b"\x00")
    if kind in (records.AXFR, records.IXFR):
        return Answer(REFUSED, apex=apex)
    if kind == records.SOA:
        record = () if labels else (soa_record(zone, options, apex),)
        return Answer(NOERROR, record, soa=bool(labels), apex=apex, tag=b"")
    if kind == records.PTR:
        return _reverse(zone, options, own, apex, question, labels)
    # These two CoreDNS finds only where the zone is asked for in lower case.
    if labels == _NS and kind != records.TXT and apex == own:
        return _addresses(options, name, apex, kind, [address for _, address in own_names(zone, options)], tag=b"")
    if not labels and kind == records.NS and apex == own:
        return _servers(zone, options, name, apex)
    if kind == records.TXT and labels == [b"dns-version"]:
        return Answer(NOERROR, (records.txt(name, _VERSION_TTL, VERSION),), apex=apex, tag=b"")
    found = lookup(zone, options, own, labels)
    if found is None or (kind == records.TXT and not (found.hosts or found.alias or found.named)):
        return _missing(zone, options, folded, apex)
    if found.alias:
        return _alias(zone, options, own, apex, question, found)
    if kind in (records.A, records.AAAA):
        return _addresses(options, name, apex, kind, [host.address for host in found.hosts], tag=found.tag)
    if kind == records.SRV:
        return _ports(options, name, apex, found)
    return Answer(NOERROR, soa=True, apex=apex, tag=found.tag)


def _missing(zone: Zone, options: Options, folded: bytes, apex: bytes) -> Answer:
    if not zone.synced:
        return Answer(SERVFAIL, soa=True, apex=apex)
    passes = any(names.is_within(folded, through) for through in options.passing)
    return Answer(NXDOMAIN, soa=True, apex=apex, passes=passes)


def _addresses(
    options: Options, name: bytes, apex: bytes, kind: int, addresses: list[bytes], *, tag: bytes | None
) -> Answer:
    """A or AAAA records of those addresses that are of that kind, each once; for other kinds none."""
    size = 4 if kind == records.A else 16 if kind == records.AAAA else 0
    wanted = dict.fromkeys(address for address in addresses if len(address) == size)
    found = tuple(Record(name, kind, options.ttl, address) for address in wanted)
    return Answer(NOERROR, found, soa=not found, apex=apex, tag=tag)


def _ports(options: Options, name: bytes, apex: bytes, found: Found) -> Answer:
    """SRV records (RFC 2782) of equal weights that add up to about 100, and the addresses of their targets."""
    ttl = options.ttl
    # In floating point as CoreDNS has it, so that no weight is off by one.
    weight = max(1, int(100.0 / (100.0 * len(found.hosts)) * 100)) if found.hosts else 0
    services: dict[Record, None] = {}
    glue: dict[Record, None] = {}
    for address, port, below in found.hosts:
        target = below + apex
        if port == NO_PORT or len(target) > names.MAX_NAME:
            continue
        services[Record(name, records.SRV, ttl, _SRV.pack(0, weight, port) + target)] = None
        glue[_address(target, ttl, address)] = None
    return Answer(NOERROR, tuple(services), tuple(glue), soa=not services, apex=apex, tag=found.tag)


def _address(name: bytes, ttl: int, address: bytes) -> Record:
    return Record(name, records.A if len(address) == 4 else records.AAAA, ttl, address)


def _reverse(zone: Zone, options: Options, own: bytes, apex: bytes, question: Question, labels: list[bytes]) -> Answer:
    folded = question.name.lower()
    address = reverse_address(folded, labels + names.labels(own))
    if address is None:
        found = lookup(zone, options, own, labels)
        if found is None:
            return _missing(zone, options, folded, apex)
        return Answer(NOERROR, soa=True, apex=apex, tag=found.tag)
    targets = [target + options.primary for target in reverse_targets(zone, options, address)]
    pointers = tuple(
        records.ptr(question.name, options.ttl, target) for target in targets if len(target) <= names.MAX_NAME
    )
    if not pointers:
        return _missing(zone, options, folded, apex)
    return Answer(NOERROR, pointers, apex=apex, tag=ADDRESS_TAG + address)


def _servers(zone: Zone, options: Options, name: bytes, apex: bytes) -> Answer:
    own = [(below + apex, address) for below, address in own_names(zone, options)]
    own = [(server, address) for server, address in own if len(server) <= names.MAX_NAME]
    found = tuple(records.ns(name, options.ttl, server) for server in dict.fromkeys(server for server, _ in own))
    glue = tuple(_address(server, options.ttl, address) for server, address in own)
    return Answer(NOERROR, found, glue, soa=not found, apex=apex, tag=b"")


def _alias(zone: Zone, options: Options, own: bytes, apex: bytes, question: Question, found: Found) -> Answer:
    """An ExternalName: the alias, and for addresses what it leads to; nothing where it leads to nothing."""
    kind, nothing = question.type, Answer(NOERROR, soa=True, apex=apex)
    if kind == records.CNAME:
        return Answer(NOERROR, (records.cname(question.name, options.ttl, found.alias),), apex=apex, tag=found.tag)
    if kind not in (records.A, records.AAAA):
        return nothing
    chain: list[Record] = []
    owner, step = question.name, found
    while step.alias:
        target = step.alias
        folded = target.lower()
        if (
            len(chain) >= _LONGEST_CHAIN
            or names.is_within(folded, owner.lower())
            or any(record.rdata == target for record in chain)
        ):
            return nothing
        chain.append(records.cname(owner, options.ttl, target))
        if not names.is_within(folded, own):
            return Answer(NOERROR, tuple(chain), apex=apex, external=target)
        labels = names.labels(folded[: len(folded) - len(own)] + b"\x00")
        if labels == _NS:
            addresses = [address for _, address in own_names(zone, options)]
            return _chained(_addresses(options, target, apex, kind, addresses, tag=None), chain, nothing)
        below = lookup(zone, options, own, labels)
        if below is None:
            return nothing
        owner, step = target, below
    last = _addresses(options, owner, apex, kind, [host.address for host in step.hosts], tag=None)
    return _chained(last, chain, nothing)


def _chained(last: Answer, chain: list[Record], nothing: Answer) -> Answer:
    return last._replace(answer=(*chain, *last.answer)) if last.answer else nothing

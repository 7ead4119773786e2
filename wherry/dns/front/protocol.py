"""What a front and the back say to each other.

They share a ``SOCK_SEQPACKET`` pair of which the supervisor keeps both ends, so that either may die and come again. A
message is one packet: ``marshal`` of a tuple whose first item is its kind. Both ends are the same program, which is
what ``marshal`` asks for.

Order is kept within a channel, and the back says a change before any reply that knows of it. Nothing is promised across
a restart: the back starts with `WHO`, a front with `HELLO`, and whoever said `HELLO` is told everything.

============  ==========  =====================================================================================
kind          direction   fields
============  ==========  =====================================================================================
`HELLO`       to back     epoch of the `WHO` answered, 0 at a front's start; process id; list of the places served:
                          (transport, host, port)
`QUERIES`     to back     list of (number, server, transport, client, port, local, wire)
`COUNTS`      to back     token of the `COUNT` answered; rows, see `Row`
`DONE`        to back     number of the `LISTEN` or `STOP` that is done; text of what went wrong or ""
`FAULT`       to back     text: a defect met while answering, which was answered with SERVFAIL
`WHO`         to front    epoch, never 0
`LISTEN`      to front    number; list of (`Listener` as a tuple, whether its socket comes along), in the order of the
                          sockets; what is served already needs none, what is not in the list ends
`PLAN`        to front    list of packed `ServerPlan`, by server index; ids of all zones, others are forgotten; every
                          kept answer is dropped
`ZONE`        to front    zone id: a snapshot begins, the zone before it serves on until `READY`
`CHANGES`     to front    zone id; list of packed changes
`READY`       to front    zone id: from now on the front answers from it
`DROP`        to front    tags whose kept answers go; none means all
`REPLIES`     to front    list of (number, wire or b"" for silence, seconds, countdown, tag, zone, view, rcode, plugin,
                          credit, more): number, then an `Answer`
`COUNT`       to front    token
`STOP`        to front    number; seconds for what is under way
============  ==========  =====================================================================================

The limits are our own: a channel holds what its socket buffer holds, a front hands over `IN_FLIGHT` queries at most and
refuses the rest with SERVFAIL.
"""

from __future__ import annotations

import marshal
from typing import Any, NamedTuple

HELLO, QUERIES, COUNTS, DONE, FAULT = 1, 2, 3, 4, 5
WHO, LISTEN, PLAN, ZONE, CHANGES, READY, DROP, REPLIES, COUNT, STOP = 16, 17, 18, 19, 20, 21, 22, 23, 24, 25

IN_FLIGHT = 2048
"""Queries that one front may have handed over and not yet got back."""
GIVE_UP = 15.0
"""Seconds after which a front forgets a query that the back never answered."""
BATCH = 64
"""Queries or replies in one message."""
LARGEST = 200_000
"""Bytes of a message; Linux' default socket buffer takes it."""
CHUNK = 16_000
"""Bytes of changes in one message, so that queries are not kept waiting while a front applies them."""
LONGEST = 65_535
"""Bytes of a DNS message."""


class Listener(NamedTuple):
    """A socket to be served: its ``server`` is an index into the plans."""

    transport: str
    """``udp``, ``tcp`` or ``tls``."""
    host: str
    """An address of this machine, ``0.0.0.0`` or ``::``."""
    port: int
    server: int
    certificates: tuple[str, str, str, str] | None = None
    """For ``tls``: certificate file, key file, file of the authority that clients come from or "", and whether they
    must say who they are: ``none``, ``optional`` or ``required``."""

    @property
    def place(self) -> tuple[str, str, int]:
        """What tells sockets of one front apart."""
        return self.transport, self.host, self.port

    @property
    def is_wildcard(self) -> bool:
        """Whether any address of the machine is meant."""
        return self.host in ("0.0.0.0", "::")


class Query(NamedTuple):
    """A query that a front does not answer itself."""

    server: int
    transport: str
    client: str
    port: int
    local: str
    """The address that was asked, "" where the socket does not tell."""
    wire: bytes


class Answer(NamedTuple):
    """What the back says to a `Query`; ``wire`` has the query's id, b"" is silence."""

    wire: bytes
    seconds: float = 0.0
    """How long the front may give this answer to the same question without asking again."""
    countdown: bool = False
    """Whether TTLs shrink meanwhile."""
    tag: bytes = b""
    """What drops it before."""
    zone: str = ""
    """With ``view``, ``rcode`` and ``plugin``: the labels under which the front counts what it answers from this."""
    view: str = ""
    rcode: int = 0
    plugin: str = ""
    credit: str = ""
    """``success`` or ``denial`` where each use counts as a hit of the cache plugin."""
    more: bool = False
    """Whether another answer to the same query follows."""


class Local(NamedTuple):
    """A ``kubernetes`` plugin that fronts answer for."""

    zone: int
    """Zone id of `ZONE` and `CHANGES`."""
    names: tuple[bytes, ...]
    """Its zones, folded wire names."""
    options: tuple[Any, ...]
    """Its options, packed."""


class ZonePlan(NamedTuple):
    """What a front may do by itself for one zone of a server."""

    name: bytes
    """Folded wire name of the server block's zone."""
    label: str
    """As metrics spell it."""
    keep: bool = False
    """Whether replies may be kept as they say: every plugin is transparent and there are no views."""
    local: Local | None = None
    """Set only where no plugin before ``kubernetes`` must see the query."""
    excluded: frozenset[bytes] = frozenset()
    """Folded names for the back alone, as those of ``hosts``."""
    excluded_zones: frozenset[tuple[bytes, int]] = frozenset()
    """Folded zones and types (0 for any) for the back alone, as those of ``template``."""
    rotate: bool = False
    """Whether addresses take turns (``loadbalance``)."""
    bufsize: int = 0
    """The largest UDP reply to a query with EDNS (``bufsize``); 0 is what the client says."""


class ServerPlan(NamedTuple):
    """One server (address and port) of the Corefile."""

    label: str
    """As metrics spell it, ``dns://:53``."""
    zones: tuple[ZonePlan, ...] = ()
    read: float = 3.0
    """Seconds that a TCP client has for its first query."""
    idle: float = 10.0
    """Seconds between queries."""
    write: float = 5.0
    """Seconds in which a client must take an answer."""
    queries: int = -1
    """Queries a connection may ask; -1 is no limit."""

    def pack(self) -> tuple[Any, ...]:
        """As a front reads it."""
        zones = [(*zone[:3], zone.local and tuple(zone.local), *zone[4:]) for zone in self.zones]
        return (self.label, zones, *self[2:])

    @classmethod
    def unpack(cls, packed: tuple[Any, ...]) -> ServerPlan:
        """What `pack` wrote."""
        zones = (ZonePlan(*zone)._replace(local=zone[3] and Local(*zone[3])) for zone in packed[1])
        return cls(packed[0], tuple(zones), *packed[2:])


SIZES = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000)
"""Upper bounds of the buckets of message sizes, CoreDNS'; one bucket more takes the rest."""


class Row(NamedTuple):
    """What a front answered by itself since it was last asked, for one set of labels."""

    server: int
    zone: str
    view: str
    transport: str
    family: int
    """1 for IPv4, 2 for IPv6."""
    type: int
    dnssec_ok: bool
    rcode: int
    plugin: str
    credit: str
    queries: int
    seconds: float
    """Spent on them in sum; each took less than CoreDNS' smallest bucket."""
    request_bytes: int
    request_sizes: tuple[int, ...]
    """How many fell into each bucket of `SIZES`, not accumulated."""
    response_bytes: int
    response_sizes: tuple[int, ...]


def pack(kind: int, *fields: Any) -> bytes:
    """One message."""
    return marshal.dumps((kind, *fields))


def unpack(message: bytes | memoryview) -> tuple[Any, ...]:
    """Kind and fields."""
    fields: tuple[Any, ...] = marshal.loads(message)
    return fields

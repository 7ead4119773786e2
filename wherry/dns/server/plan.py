"""What fronts may do without asking: decided for each server and zone from the plugins of its chain.

Two things are decided. Replies may be kept where every plugin is transparent and no view chooses by client. Names of
the cluster may be computed where, besides, every plugin before `kubernetes` either leaves such answers alone or says
which names it must see.

Pure: the plugins are only asked for what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wherry.dns import names
from wherry.dns.chain import Chain, Router
from wherry.dns.corefile.model import Timeouts
from wherry.dns.front.protocol import Local, ServerPlan, ZonePlan
from wherry.dns.kubernetes.zone import Zone
from wherry.dns.plugin import Base, Exclusion, ZoneExclusion
from wherry.dns.plugins.cache.clamp import Clamp
from wherry.dns.server.sharing import Followed


def plan_of(router: Router, timeouts: Timeouts, number_of: Callable[[Zone], int]) -> ServerPlan:
    """Return the plan of a server. ``number_of``: the number under which fronts know a cluster's names."""
    zones = tuple(_zone_plan(zone, chains, number_of) for zone, chains in router.zones.items())
    most = -1 if timeouts.most_queries is None else timeouts.most_queries
    return ServerPlan(router.server, zones, timeouts.read, timeouts.idle, timeouts.write, most)


def _zone_plan(zone: bytes, chains: list[Chain], number_of: Callable[[Zone], int]) -> ZonePlan:
    label = names.to_text(zone)
    chain = chains[0]
    if len(chains) > 1 or chain.block.filters or chain.empty:
        return ZonePlan(zone, label)
    keep = all(plugin.transparent for plugin in chain.plugins)
    plan = ZonePlan(zone, label, keep=keep, rotate="loadbalance" in chain.block.plugins)
    kubernetes = chain.block.plugins.get("kubernetes")
    if not keep or kubernetes is None:
        return plan
    assert isinstance(kubernetes, Followed)
    return _with_local(plan, chain, kubernetes, number_of(kubernetes.zone))


def _with_local(plan: ZonePlan, chain: Chain, kubernetes: Followed, number: int) -> ZonePlan:
    held = tuple(kubernetes.zones)
    excluded: set[bytes] = set()
    excluded_zones: set[tuple[bytes, int]] = set()
    bufsize = 0
    for plugin in chain.plugins:
        if plugin.name == "kubernetes":
            break
        told = False
        if isinstance(plugin, Exclusion):
            told = True
            excluded |= {name for name in plugin.excluded() if _meets(name, held)}
        if isinstance(plugin, ZoneExclusion):
            told = True
            excluded_zones |= {(zone, kind) for zone, kind in plugin.excluded_zones() if _meets(zone, held)}
        if plugin.name == "bufsize":
            bufsize = plugin.size  # type: ignore[attr-defined]
        elif plugin.name == "cache":
            clamp = plugin.clamp  # type: ignore[attr-defined]
            if not _leaves(clamp, held, kubernetes.options.ttl):
                return plan
            # The one record of a cluster's zone with a TTL of its own.
            excluded |= {names.join([b"dns-version", *names.labels(zone)]) for zone in held}
        elif not told and plugin.name not in _LEAVING and type(plugin).serve is not Base.serve:
            return plan
    return plan._replace(
        local=Local(number, held, kubernetes.options.pack()),
        excluded=frozenset(excluded), excluded_zones=frozenset(excluded_zones), bufsize=bufsize,
    )  # fmt: skip


#: Plugins that leave answers for the cluster's names as they are, or whose part fronts play themselves (`loadbalance`).
_LEAVING = frozenset({"errors", "prometheus", "metadata", "loadbalance", "cancel", "nsid", "chaos"})


def _meets(name: bytes, zones: Iterable[bytes]) -> bool:
    """Whether what is at or below a name is, in part, at or below one of the zones, or the other way round."""
    return any(names.is_within(name, zone) or names.is_within(zone, name) for zone in zones)


def _leaves(clamp: Clamp, zones: Iterable[bytes], ttl: int) -> bool:
    """Whether TTLs of the cluster's records are within a cache's bounds already."""
    for zone in zones:
        for denial in (False, True):
            if clamp.seconds(zone, ttl, denial=denial) not in (None, ttl):
                return False
    return True

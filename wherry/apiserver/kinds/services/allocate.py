"""Addresses and node ports of services: taken before the write, given back when it fails or when they are let go.

Families follow KEP-563 (dual stack), shared node ports the rule that one service port number has one node port for all
protocols.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import ip_address

from wherry.apiserver.kinds.addresses import family_of
from wherry.apiserver.kinds.model import (
    Context,
    FieldError,
    Object,
    invalid,
    refuse_internal,
    refuse_invalid,
)
from wherry.apiserver.kinds.services.rules import (
    DUAL_POLICIES,
    NONE,
    is_headless,
    needs_cluster_ip,
    needs_health_check,
    needs_node_port,
    wants_node_ports,
)
from wherry.apiserver.kinds.services.validate import check_families
from wherry.net.errors import AllocationError, Exhausted, OutOfRange

_TWO_FAMILIES = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
_OTHER = {"IPv4": "IPv6", "IPv6": "IPv4"}


class Reservation:
    """What one write took from the pools and will give back."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []
        self._release: list[Callable[[], None]] = []

    def taken(self, give_back: Callable[[], None]) -> None:
        """Something was taken; `give_back` undoes it."""
        self._undo.append(give_back)

    def let_go(self, give_back: Callable[[], None]) -> None:
        """Something is given back once the write is stored."""
        self._release.append(give_back)

    def commit(self) -> None:
        """The write is stored."""
        for give_back in self._release:
            give_back()

    def revert(self) -> None:
        """The write failed, or was a dry run."""
        for give_back in self._undo:
            give_back()


def _refuse(obj: Object, errors: list[FieldError]) -> None:
    if errors:
        raise refuse_invalid("", "Service", obj["metadata"].get("name", ""), errors)


# --- families ---------------------------------------------------------------------------------------------------------


def _unchanged_preference(new: Object, old: Object | None) -> bool:
    """A PreferDualStack service does not change by itself when the cluster's families do."""
    if old is None or new.get("ipFamilyPolicy") != "PreferDualStack":
        return False
    keys = ("type", "ipFamilyPolicy", "ipFamilies", "clusterIP", "clusterIPs")
    return all(new.get(key) == old.get(key) for key in keys) and bool(new.get("ipFamilies"))


def settle_families(obj: Object, old: Object | None, ctx: Context) -> None:
    """Fill in families and policy from what is given, from the old version, and from the cluster; raises Refusal."""
    spec = obj["spec"]
    before = old["spec"] if old is not None else None
    if not needs_cluster_ip(spec) or _unchanged_preference(spec, before):
        return
    if before is not None and needs_cluster_ip(before) and spec.get("clusterIPs") == before.get("clusterIPs"):
        for key in ("ipFamilyPolicy", "ipFamilies"):
            if spec.get(key) is None and key in before:
                spec[key] = before[key]
    _refuse(obj, check_families(spec))
    configured = list(ctx.address_pools)
    families: list[str] = list(spec.get("ipFamilies") or ())
    addresses: list[str] = spec.get("clusterIPs") or []
    policy: str | None = spec.get("ipFamilyPolicy")
    if is_headless(spec) and not spec.get("selector"):
        families = families or configured[:1]
        if len(families) == 1 and policy != "SingleStack":
            families.append(_OTHER[families[0]])
        spec["ipFamilies"] = families
        spec.setdefault("ipFamilyPolicy", "RequireDualStack")
        return
    errors: list[FieldError] = []
    if policy not in DUAL_POLICIES and (len(families) > 1 or len(addresses) > 1):
        errors.append(invalid("spec.ipFamilyPolicy", policy or "SingleStack", _TWO_FAMILIES))
        _refuse(obj, errors)
    if policy == "RequireDualStack" and len(configured) < 2:
        text = "this cluster is not configured for dual-stack services"
        errors.append(invalid("spec.ipFamilyPolicy", policy, text))
    for index, family in enumerate(families):
        if family not in configured:
            errors.append(invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster"))
    _refuse(obj, errors)
    for index, address in enumerate(addresses):
        if address == NONE or index < len(families):
            continue
        family = family_of(address)
        if family not in configured:
            shown = f"{family} is not configured on this cluster"
            # The range is what is wrong with a foreign address where its family is the only one.
            errors.append(invalid(f"spec.clusterIPs[{index}]", addresses, shown))
        families.append(family)
    _refuse(obj, errors)
    families = families or configured[:1]
    policy = policy or "SingleStack"
    if policy in DUAL_POLICIES and len(families) == 1 and len(configured) > 1:
        families.append(_OTHER[families[0]])
    spec["ipFamilies"], spec["ipFamilyPolicy"] = families, policy


# --- addresses --------------------------------------------------------------------------------------------------------


def _take_address(obj: Object, text: str, ctx: Context, held: Reservation) -> None:
    """Take an address that was asked for."""
    pool = ctx.address_pools[family_of(text)]
    address = ip_address(text)
    try:
        pool.occupy(address)
    except AllocationError as error:
        why = "the provided network does not match the current range" if isinstance(error, OutOfRange) else str(error)
        shown = obj["spec"]["clusterIPs"]
        _refuse(obj, [invalid("spec.clusterIPs", shown, f"failed to allocate IP {text}: {why}")])
    held.taken(lambda: pool.release(address))


def _new_address(family: str, ctx: Context, held: Reservation) -> str:
    pool = ctx.address_pools[family]
    try:
        address = pool.allocate()
    except Exhausted as error:
        raise refuse_internal(f"failed to allocate a serviceIP: {error}") from error
    held.taken(lambda: pool.release(address))
    return str(address)


def _release_address(text: str, ctx: Context, held: Reservation) -> None:
    pool = ctx.address_pools.get(family_of(text))
    if pool is not None:
        held.let_go(lambda: pool.release(ip_address(text)))


def _real(spec: Object) -> list[str]:
    """The addresses that come from the pools."""
    return [text for text in spec.get("clusterIPs") or () if text != NONE] if needs_cluster_ip(spec) else []


def _allocate_addresses(obj: Object, old: Object | None, ctx: Context, held: Reservation) -> None:
    spec = obj["spec"]
    before = _real(old["spec"]) if old is not None else []
    if needs_cluster_ip(spec) and not is_headless(spec):
        addresses = list(spec.get("clusterIPs") or ())
        for text in addresses:
            if text not in before:
                _take_address(obj, text, ctx, held)
        for family in spec["ipFamilies"][len(addresses) :]:
            addresses.append(_new_address(family, ctx, held))
        spec["clusterIPs"], spec["clusterIP"] = addresses, addresses[0]
    after = _real(spec)
    for text in before:
        if text not in after:
            _release_address(text, ctx, held)


# --- node ports -------------------------------------------------------------------------------------------------------


def _take_port(obj: Object, port: int, index: int, ctx: Context, held: Reservation) -> None:
    try:
        ctx.node_ports.occupy(port)
    except AllocationError as error:
        _refuse(obj, [invalid(f"spec.ports[{index}].nodePort", port, str(error))])
    held.taken(lambda: ctx.node_ports.release(port))


def _new_port(ctx: Context, held: Reservation, what: str = "nodePort") -> int:
    try:
        port = ctx.node_ports.allocate()
    except Exhausted as error:
        raise refuse_internal(f"failed to allocate a {what}: {error}") from error
    held.taken(lambda: ctx.node_ports.release(port))
    return port


def _node_ports(spec: Object) -> set[int]:
    return {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}


def _allocate_node_ports(obj: Object, old: Object | None, ctx: Context, held: Reservation) -> None:
    """One node port per service port number; the same one for its other protocols."""
    spec = obj["spec"]
    before = _node_ports(old["spec"]) if old is not None and needs_node_port(old["spec"]) else set()
    if needs_node_port(spec):
        ports = spec.get("ports") or ()
        shared: dict[int, int] = {}
        used: set[int] = set()
        for index, port in enumerate(ports):
            number, wanted = port["port"], port.get("nodePort") or 0
            known = shared.get(number, 0)
            if known and wanted in (0, known):
                port["nodePort"] = known
                continue
            if not wanted and not known:
                wanted = next((p["nodePort"] for p in ports if p["port"] == number and p.get("nodePort")), 0)
            if wanted:
                if wanted not in before or wanted in used:
                    _take_port(obj, wanted, index, ctx, held)
                port["nodePort"] = wanted
            elif wants_node_ports(spec):
                wanted = port["nodePort"] = _new_port(ctx, held)
            if wanted:
                shared[number] = wanted
                used.add(wanted)
    after = _node_ports(spec) if needs_node_port(spec) else set()
    for number in before - after:
        held.let_go(partial(ctx.node_ports.release, number))


def _allocate_health_check(obj: Object, old: Object | None, ctx: Context, held: Reservation) -> None:
    spec = obj["spec"]
    before = (old["spec"].get("healthCheckNodePort") or 0) if old is not None and needs_health_check(old["spec"]) else 0
    after = 0
    if needs_health_check(spec):
        after = spec.get("healthCheckNodePort") or 0
        if not after:
            after = spec["healthCheckNodePort"] = _new_port(ctx, held, "HealthCheck NodePort")
        elif after != before:
            try:
                ctx.node_ports.occupy(after)
            except AllocationError as error:
                text = f"failed to allocate requested HealthCheck NodePort {after}: {error}"
                raise refuse_internal(text) from error
            held.taken(lambda: ctx.node_ports.release(after))
    if before and before != after:
        held.let_go(lambda: ctx.node_ports.release(before))


def allocate(obj: Object, old: Object | None, ctx: Context) -> Reservation:
    """Settle families, addresses and node ports of a new version (`old` None: a new object); raises Refusal."""
    held = Reservation()
    try:
        settle_families(obj, old, ctx)
        _allocate_addresses(obj, old, ctx, held)
        _allocate_node_ports(obj, old, ctx, held)
        _allocate_health_check(obj, old, ctx, held)
    except Exception:
        held.revert()
        raise
    return held


def release(obj: Object, ctx: Context) -> None:
    """Give everything back that a deleted service held."""
    spec = obj["spec"]
    for text in _real(spec):
        pool = ctx.address_pools.get(family_of(text))
        if pool is not None:
            pool.release(ip_address(text))
    if needs_node_port(spec):
        for number in _node_ports(spec):
            ctx.node_ports.release(number)
    if needs_health_check(spec) and spec.get("healthCheckNodePort"):
        ctx.node_ports.release(spec["healthCheckNodePort"])

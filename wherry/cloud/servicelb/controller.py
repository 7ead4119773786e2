"""ServiceLB's edge: Services, nodes, forwarder pods and endpoint slices in; DaemonSets, statuses and events out.

Reasons and messages of events are those of K3s and of Kubernetes' service controller. One key, a Service's, is all
there is: it is looked at again whenever something changes that its DaemonSet or its status depends on.
"""

from __future__ import annotations

from typing import Any

from wherry.cloud.servicelb import advertise, binding, daemonset, status, writer
from wherry.cloud.servicelb.model import (
    LbSettings,
    Unusable,
    allow_list,
    eligible,
    held,
    in_allow_list,
    no_node,
    owner,
    proxied,
    proxy_trouble,
    wants,
)
from wherry.cloud.servicelb.status import Conflict
from wherry.cloud.servicelb.watched import Watched
from wherry.kube.client import Client
from wherry.kube.controller import Controller, RetryAfter
from wherry.kube.errors import AlreadyExists, ApiError, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import EndpointSlice, Node, Pod, Service, ServiceAccount
from wherry.kube.times import now
from wherry.kube.workqueue import Backoff

NAME = "service-lb-controller"
"""The component of its events."""

_NO_NODES = "There are no available nodes for LoadBalancer"
_GONE_RETRY, _NEWS_RETRY = 1.0, 0.05
"""Seconds until a look at a newer copy."""
_FIRST_RETRY, _LONGEST_RETRY = 5.0, 300.0
"""Seconds between attempts for a Service that asks for what cannot be done, as Kubernetes' service controller."""


class ServiceLb(Controller):
    """Serves every Service of type LoadBalancer without a class; run by one process of a cluster at a time."""

    name = "servicelb"
    workers = 2

    def __init__(
        self, client: Client, informers: Informers, recorder: EventRecorder, *, settings: LbSettings | None = None
    ) -> None:
        super().__init__()
        self._client = client
        self._recorder = recorder
        self._settings = settings or LbSettings()
        self._retries = Backoff(first=_FIRST_RETRY, longest=_LONGEST_RETRY)
        self._failures: dict[Key, int] = {}
        self._conflicts: dict[Key, list[Conflict]] = {}
        self._ignored: dict[Key, str] = {}
        self._unshown: dict[Key, str] = {}
        self._see = see = Watched(informers, self._settings.namespace)
        see.services.add_handler(self._service_changed)
        see.pods.add_handler(self._pod_changed)
        see.nodes.add_handler(self._node_changed)
        see.slices.add_handler(self._slice_changed)
        see.daemon_sets.add_handler(self._set_changed)
        see.accounts.add_handler(self._account_changed)

    async def prepare(self) -> None:
        """Wait for a complete picture, then clear away what another namespace has from an earlier setting."""
        await self._see.synced()
        await writer.remove_accounts(self._client, keep=self._settings.namespace)
        # What was being done when leadership was lost has been forgotten.
        self._look_at_all()

    # -- what makes a Service be looked at again -----------------------------------------------------------------

    def _look_at_all(self) -> None:
        for service in self._see.services.list():
            self.queue.add(service.key)

    def _account_changed(self, old: ServiceAccount | None, new: ServiceAccount | None) -> None:
        if new is None:
            self._look_at_all()

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        self.enqueue(old, new)
        if old is None or new is None:
            return
        if old.spec.type != new.spec.type and "LoadBalancer" in (old.spec.type, new.spec.type):
            self._say(new, "Type", f"{old.spec.type} -> {new.spec.type}")
        if not wants(new):
            return
        before, after = old.spec, new.spec
        if before.load_balancer_source_ranges != after.load_balancer_source_ranges:
            texts = [f"[{' '.join(one.load_balancer_source_ranges)}]" for one in (before, after)]
            self._say(new, "LoadBalancerSourceRanges", " -> ".join(texts))
        if before.external_traffic_policy != after.external_traffic_policy and before.external_traffic_policy:
            policies = f"{before.external_traffic_policy} -> {after.external_traffic_policy}"
            self._say(new, "ExternalTrafficPolicy", policies)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            if pod is None:
                continue
            if (served := owner(pod.labels)) is not None:
                self.queue.add(Key(*served))
            if self._conflicts and status.host_ports(pod):
                # Who holds a port may be another one now.
                for key in self._conflicts:
                    self.queue.add(key)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        listed = [node is not None and in_allow_list(node) for node in (old, new)]
        if listed[0] != listed[1]:
            self._look_at_all()
        if old is None or new is None or _addresses(old) != _addresses(new) or binding.told(old) != binding.told(new):
            name = (new or old or Node()).name
            for pod in self._see.forwarders_on(name):
                if (served := owner(pod.labels)) is not None:
                    self.queue.add(Key(*served))

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for each in (old, new):
            if each is None or not each.service_name:
                continue
            key = Key(each.namespace, each.service_name)
            service = self._see.services.get(key)
            if service is not None and wants(service) and service.spec.external_traffic_policy == "Local":
                self.queue.add(key)

    def _set_changed(self, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        found = new if new is not None else old
        served = owner((found or {}).get("metadata", {}).get("labels") or {})
        if served is not None:
            self.queue.add(Key(*served))

    # -- one Service ---------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> None:
        """Make DaemonSet, finalizer and status of a Service right, or take them away."""
        service = self._see.services.get(key)
        if service is None or not wants(service):
            self._failures.pop(key, None)
            self._conflicts.pop(key, None)
            self._ignored.pop(key, None)
            self._unshown.pop(key, None)
            await self._remove(key, service)
            return
        self._tell_once(self._ignored, service, "ProxyProtocolIgnored", proxy_trouble(service))
        try:
            await self._report(await self._ensure(service))
        except NotFound as error:
            # The news of what is gone is on its way; of a namespace that goes it need not be one of ours.
            raise RetryAfter(_GONE_RETRY, str(error)) from error
        except AlreadyExists as error:
            raise RetryAfter(_NEWS_RETRY, f"made a moment ago: {error}") from error
        except (Unusable, ApiError) as error:
            self._fail(service, error)
        self._failures.pop(key, None)

    def _tell_once(self, told: dict[Key, str], service: Service, reason: str, text: str) -> None:
        """Warn of what a Service does not get, once; an empty text is none."""
        before = told.pop(service.key, "")
        if text:
            told[service.key] = text
            if text != before:
                self._say(service, reason, text, "Warning")

    def _fail(self, service: Service, error: Exception) -> None:
        """Tell what cannot be done; API errors that pass by themselves are the queue's business."""
        if isinstance(error, ApiError) and (error.code in (0, 409, 429) or error.code >= 500):
            raise error
        text = f"Error syncing load balancer: failed to ensure load balancer: {error}"
        self._say(service, "SyncLoadBalancerFailed", text, "Warning")
        failures = self._failures[service.key] = self._failures.get(service.key, 0) + 1
        raise RetryAfter(self._retries.after(failures), str(error)) from error

    async def _ensure(self, service: Service) -> Service:
        """Make finalizer and DaemonSet right; return the Service as it is then."""
        settings = self._settings
        # What cannot be read is found before anything is written.
        advertise.parse(service)
        nodes = self._see.nodes.list()
        wanted = daemonset.daemon_set(service, settings, allow_list=allow_list(nodes))
        name = Key(settings.namespace, wanted["metadata"]["name"])
        mine = self._see.daemon_sets_of(service.key)
        current = next((each for each in mine if _key(each) == name and not _deleting(each)), None)
        strays = [each for each in mine if _key(each) != name]
        finalized = await writer.finalize(self._client, service)
        if finalized is not service:
            self._say(service, "EnsuringLoadBalancer", "Ensuring load balancer")
        if not self._see.has_account:
            await writer.account(self._client, settings.namespace)
        # Those of another namespace, or of a Service of this name that is no more, hold the ports.
        await self._delete(service, strays)
        if await writer.apply(self._client, current, wanted):
            self._say(service, "AppliedDaemonSet", f"Applied LoadBalancer DaemonSet {name}")
            if why := no_node(service, nodes):
                self._say(service, "UnAvailableLoadBalancer", f"{_NO_NODES}: {why}", "Warning")
        return finalized

    async def _report(self, current: Service) -> None:
        """Write addresses and conditions."""
        pods = self._see.forwarders_of(current.key)
        serving = status.serving(current, pods, self._see.node, self._see.slices_of(current.key))
        shown = status.addresses(current, serving, rootless=self._settings.rootless)
        self._tell_once(
            self._unshown,
            current,
            "UnAvailableLoadBalancer",
            status.nothing_shown(current, serving) if serving and not shown else "",
        )
        conflicts = status.conflicts(pods, self._see.pods_on)
        if conflicts:
            self._conflicts[current.key] = conflicts
        else:
            self._conflicts.pop(current.key, None)
        names = sorted({pod.spec.node_name for pod in pods if pod.spec.node_name and not pod.deleting})
        nodes = [node for node in map(self._see.node, names) if node is not None]
        found: list[status.Trouble] = [
            *conflicts,
            *binding.unbound(
                binding.parse(current),
                nodes,
                current.spec.ip_families,
                eligible=eligible(current, self._see.nodes.list()),
            ),
        ]
        ingress = current.status.load_balancer.ingress
        before = [one.ip or one.hostname for one in ingress]
        conditions = status.conditions(current.status.conditions, found, now())
        patch: dict[str, Any] = {}
        if not status.is_shown(ingress, shown, proxied=proxied(current)):
            patch["loadBalancer"] = {"ingress": status.ingress(shown, proxied=proxied(current)) or None}
        if conditions is not None:
            patch["conditions"] = status.as_data(conditions)
        if not patch:
            return
        await writer.status(self._client, current, patch)
        if conditions is not None:
            for each in found:
                then = "waits for it" if each in conflicts else "does not serve there"
                self._say(current, status.reason_of(each), f"{each}: this load balancer {then}", "Warning")
        if before != shown:
            text = f"Updated LoadBalancer with new IPs: [{' '.join(before)}] -> [{' '.join(shown)}]"
            self._say(current, "UpdatedLoadBalancer", text)
            if not serving:
                self._say(current, "UnAvailableLoadBalancer", _NO_NODES, "Warning")

    # -- the end -------------------------------------------------------------------------------------------------

    async def _remove(self, key: Key, service: Service | None) -> None:
        """Take away what a Service has of ours, which may be gone, deleted, of another type or another's."""
        mine = self._see.daemon_sets_of(key)
        if service is None:
            await writer.delete(self._client, mine)
            return
        # One with a class is another controller's, status and finalizer too.
        ours = service.spec.load_balancer_class is None and held(service)
        if ours:
            self._say(service, "DeletingLoadBalancer", "Deleting load balancer")
        await self._delete(service, mine)
        if not ours:
            return
        if not service.deleting:
            service = await clear_status(self._client, service)
        await writer.release(self._client, service)
        self._say(service, "DeletedLoadBalancer", "Deleted load balancer")

    async def _delete(self, service: Service, sets: list[dict[str, Any]]) -> None:
        await writer.delete(self._client, sets)
        for each in sets:
            if not _deleting(each):
                self._say(service, "DeletedDaemonSet", f"Deleted LoadBalancer DaemonSet {_key(each)}")

    def _say(self, service: Service, reason: str, message: str, type_: str = "Normal") -> None:
        self._recorder.event(service, type_, reason, message)


async def clear_status(client: Client, service: Service) -> Service:
    """Empty what we wrote into the status of a Service; return it as it is then."""
    kept = status.without(service.status.conditions)
    patch: dict[str, Any] = {}
    if service.status.load_balancer.ingress:
        patch["loadBalancer"] = {"ingress": None}
    if len(kept) != len(service.status.conditions):
        patch["conditions"] = status.as_data(kept) or None
    return await writer.status(client, service, patch) if patch else service


def _addresses(node: Node) -> list[str]:
    return sorted(f"{one.type}={one.address}" for one in node.status.addresses if one.type.endswith("IP"))


def _key(daemon_set: dict[str, Any]) -> Key:
    meta = daemon_set["metadata"]
    return Key(meta["namespace"], meta["name"])


def _deleting(daemon_set: dict[str, Any]) -> bool:
    return bool(daemon_set["metadata"].get("deletionTimestamp"))

"""The pod sandboxes of one node: made whole or not at all, found again after a restart, removed without a trace.

    sandboxes = Sandboxes(run_dir=..., data_dir=..., ranges=(IPv4Network("10.42.1.0/24"),), mtu=1450)
    known = await sandboxes.adopt()          # once, before anything else: what a former agent left
    sandbox = await sandboxes.create(spec)   # idempotent per pod uid
    await sandboxes.remove(uid)              # idempotent; the last trace goes some milliseconds later
    await sandboxes.collect(keep=uids)       # removes everything whose pod uid is not in ``keep``
    await sandboxes.close()

Only this class makes or removes interfaces called ``podXXXXXXXXXXXX``, namespaces and files below ``run_dir``. A
sandbox counts as made once its record is written, which happens last; what has no record is debris and is removed.
Kernel work takes milliseconds and a lock in the kernel that all of it shares, so one worker thread does it all.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from wherry.kernel.netlink import Netlink, NetlinkError, NotFound
from wherry.kernel.nft import Nft, NftError
from wherry.net.errors import AllocationError, Exhausted
from wherry.pods.model import Mount
from wherry.pods.sandbox import files, names, network
from wherry.pods.sandbox.addresses import PodAddresses
from wherry.pods.sandbox.hostports import HostPorts, Interfaces
from wherry.pods.sandbox.model import Network, Sandbox, SandboxSpec

T = TypeVar("T")

_FILES = (("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf"))


class SandboxError(Exception):
    """A sandbox could not be made or removed; the text belongs into the pod's event (FailedCreatePodSandBox)."""


class NoAddressLeft(SandboxError):
    """The node's pod range is used up; the next pod that goes makes room."""


class Sandboxes:
    """See the module's documentation. ``ranges`` are the node's pod ranges, the first one's address is status.podIP."""

    def __init__(
        self,
        *,
        run_dir: Path,
        data_dir: Path,
        ranges: Iterable[Network],
        mtu: int,
        node_hosts: Path = Path("/etc/hosts"),
        nft: Nft | None = None,
        interfaces: Interfaces | None = None,
    ) -> None:
        self._netns_dir = run_dir / "netns"
        self._dir = run_dir / "sandboxes"
        self._mtu = mtu
        self._node_hosts = node_hosts
        self._addresses = PodAddresses(tuple(ranges), store=data_dir / "pod-addresses.json")
        self._known: dict[str, Sandbox] = {}
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox")
        self._netlink: Netlink | None = None
        self._nft = nft or Nft()
        self._owns_nft = nft is None
        self._ports = HostPorts(self._nft, interfaces or {})

    @property
    def known(self) -> dict[str, Sandbox]:
        """The complete sandboxes by pod uid (a copy)."""
        return dict(self._known)

    async def adopt(self) -> dict[str, Sandbox]:
        """Prepare the node and take over what is whole; its routes are put right, the rest is removed.

        Raises `SandboxError` when the node's network cannot be used at all.
        """
        await self._run(self._adopt)
        await self._change_ports(self._ports.load(self._known.values()))
        return self.known

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a pod's sandbox, or return the one there is. Raises `SandboxError`; nothing is left behind then."""
        known = self._known.get(spec.uid)
        if known is not None:
            return known
        sandbox = await self._run(lambda: self._create(spec))
        try:
            await self._change_ports(self._ports.add(sandbox))
        except SandboxError:
            await self._run(lambda: self._remove(spec.uid))
            raise
        return sandbox

    async def remove(self, uid: str) -> None:
        """Take a pod's sandbox away and free its addresses. Raises `SandboxError`."""
        sandbox = self._known.get(uid)
        if sandbox is not None:
            await self._change_ports(self._ports.remove(sandbox))
        await self._run(lambda: self._remove(uid))

    async def follow(self, interfaces: Interfaces) -> None:
        """Let the ports of interfaces follow the interfaces' addresses. Raises `SandboxError`."""
        await self._change_ports(self._ports.follow(interfaces))

    @staticmethod
    async def _change_ports(change: Awaitable[None]) -> None:
        try:
            await change
        except (NftError, NetlinkError, OSError) as error:
            raise SandboxError(f"host ports: {error}") from error

    async def collect(self, keep: Collection[str]) -> None:
        """Remove every sandbox, and every trace of one, whose pod uid is not in ``keep``. Raises `SandboxError`."""
        for uid in self._known.keys() - frozenset(keep):
            await self._change_ports(self._ports.remove(self._known[uid]))
        await self._run(lambda: self._collect(frozenset(keep)))

    async def guard(self, alarm: Callable[[str], None]) -> None:
        """Repair host ports whenever another program removes or changes them, until cancelled; tell ``alarm`` of it."""
        await self._ports.guard(alarm)

    async def close(self) -> None:
        """Finish what is under way and release descriptors; sandboxes stay."""
        self._ports.close()
        if self._owns_nft:
            await self._nft.close()
        if self._netlink is not None:
            await self._run(self._netlink.close)
        self._worker.shutdown()

    async def _run(self, work: Callable[[], T]) -> T:
        """Work in the one thread; a cancelled caller does not interrupt it, the next call finds it done."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except Exhausted as error:
            raise NoAddressLeft(str(error)) from error
        except (OSError, NetlinkError, AllocationError) as error:
            raise SandboxError(str(error)) from error

    @property
    def _node(self) -> Netlink:
        if self._netlink is None:
            self._netlink = Netlink()
        return self._netlink

    def _adopt(self) -> None:
        self._netns_dir.mkdir(parents=True, exist_ok=True)
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        network.prepare_node()
        for record in sorted(self._dir.glob("*.json")):
            sandbox = _read(record)
            if sandbox is None:
                continue
            if sandbox.netns is not None:
                if not network.is_connected(self._node, uid=sandbox.uid, path=sandbox.netns):
                    continue
                addresses = network.parse(sandbox.addresses)
                network.attach(self._node, uid=sandbox.uid, addresses=addresses)
                self._addresses.occupy(addresses)
            self._known[sandbox.uid] = sandbox
        self._collect(frozenset(self._known))

    def _create(self, spec: SandboxSpec) -> Sandbox:
        known = self._known.get(spec.uid)
        if known is not None:
            return known
        if not names.valid_uid(spec.uid):
            raise SandboxError(f"{spec.uid!r} is not a pod uid")
        foreign = [name for name in spec.sysctls if not name.startswith("net.")]
        if foreign:
            raise SandboxError(f"sysctls outside of net.* do not belong to a network: {', '.join(foreign)}")
        addresses = () if spec.host_network else self._addresses.allocate()
        path = str(self._netns_dir / spec.uid)
        try:
            if not spec.host_network:
                # A half-made predecessor of an agent that was killed is in the way.
                network.clear(self._node, uid=spec.uid, path=path)
                network.connect(
                    self._node,
                    uid=spec.uid,
                    path=path,
                    addresses=addresses,
                    mtu=self._mtu,
                    sysctls=spec.sysctls,
                    from_loopback=bool(spec.ports),
                )
            texts = tuple(str(address) for address in addresses)
            sandbox = Sandbox(
                uid=spec.uid,
                namespace=spec.namespace,
                name=spec.name,
                hostname=spec.hostname,
                netns=None if spec.host_network else path,
                addresses=texts,
                host_interface="" if spec.host_network else names.host_interface(spec.uid),
                files=self._write_files(spec, texts),
                ports=() if spec.host_network else spec.ports,
            )
            _replace(self._record(spec.uid), msgspec.json.encode(sandbox))
        except BaseException:
            self._discard(spec.uid)
            self._addresses.release(addresses)
            raise
        self._known[spec.uid] = sandbox
        return sandbox

    def _write_files(self, spec: SandboxSpec, addresses: tuple[str, ...]) -> tuple[Mount, ...]:
        directory = self._dir / spec.uid
        directory.mkdir(mode=0o755, exist_ok=True)
        node_hosts = ""
        if spec.host_network and self._node_hosts.exists():
            node_hosts = self._node_hosts.read_text(errors="replace")
        texts = {
            "hosts": files.hosts(spec, addresses=addresses, node_hosts=node_hosts),
            "hostname": files.hostname(spec),
            "resolv.conf": files.resolv_conf(spec.dns),
        }
        mounts = []
        for name, target in _FILES:
            (directory / name).write_text(texts[name])
            mounts.append(Mount(source=str(directory / name), target=target))
        return tuple(mounts)

    def _remove(self, uid: str) -> None:
        if not names.valid_uid(uid):
            return  # none can have been made
        sandbox = self._known.get(uid)
        self._discard(uid)
        if sandbox is not None:
            del self._known[uid]
            self._addresses.release(network.parse(sandbox.addresses))

    def _discard(self, uid: str) -> None:
        """The record first: from then on it counts as debris, whatever happens to us."""
        record = self._record(uid)
        for path in (record, _temporary(record)):
            path.unlink(missing_ok=True)
        network.disconnect(self._node, uid=uid, path=str(self._netns_dir / uid))
        if (self._dir / uid).exists():
            shutil.rmtree(self._dir / uid)

    def _collect(self, keep: frozenset[str]) -> None:
        found = {path.name for path in self._netns_dir.iterdir()}
        found |= {path.name.removesuffix(".json").removesuffix(".json~") for path in self._dir.iterdir()}
        for uid in sorted((found | self._known.keys()) - keep):
            self._remove(uid)
        interfaces = {names.host_interface(uid) for uid in self._known}
        for link in self._node.link_list():
            if names.is_host_interface(link.name) and link.name not in interfaces:
                try:
                    self._node.link_del(link.index)
                except NotFound:
                    continue  # the kernel has just removed it with its namespace

    def _record(self, uid: str) -> Path:
        return self._dir / f"{uid}.json"


def _read(record: Path) -> Sandbox | None:
    """A record, None when it is unreadable (and so its sandbox debris)."""
    try:
        return msgspec.json.decode(record.read_bytes(), type=Sandbox)
    except msgspec.MsgspecError:
        return None


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that readers find the old or the new one."""
    temporary = _temporary(path)
    temporary.write_bytes(data)
    os.replace(temporary, path)


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + "~")

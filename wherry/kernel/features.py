"""What this machine must have for wherry's data plane, tried out in throw-away namespaces.

`check()` tries each feature in a child process that enters namespaces of its own (as an ordinary user, a user
namespace first), so nothing of the machine is touched and nothing stays. It takes about 0.1 s.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from wherry.kernel import netns
from wherry.kernel.netlink import Netlink, NetlinkError
from wherry.kernel.nft import NftError, find_nft


class Missing(msgspec.Struct, frozen=True):
    """A feature that is not there: its name, and one line that says what is wrong and what to do."""

    feature: str
    line: str


def _veth() -> None:
    with Netlink() as link:
        link.link_add_veth("try-a", "try-b")


def _bridge() -> None:
    with Netlink() as link:
        link.link_add_bridge("try-br")


def _vxlan() -> None:
    with Netlink() as link:
        link.link_add_vxlan("try-vx", 1, 8472, "127.0.0.1")


def _nft(rules: str) -> Callable[[], None]:
    def attempt() -> None:
        run = subprocess.run(
            [find_nft(), "-f", "-"], input=rules, capture_output=True, text=True, env={"LC_ALL": "C"}, check=False
        )
        if run.returncode != 0:
            raise OSError(next(iter(run.stderr.splitlines()), f"exit status {run.returncode}"))

    return attempt


_NAT: Final = """
table inet try {
  map services {
    type ipv4_addr . inet_proto . inet_service : verdict
  }
  chain a {
    numgen random mod 2 vmap { 0 : accept, 1 : accept }
  }
  chain b {
    type nat hook prerouting priority dstnat
    ip daddr . meta l4proto . th dport vmap @services
    meta l4proto tcp dnat ip to 192.0.2.1:80
  }
  chain c {
    type nat hook postrouting priority srcnat
    ip saddr 192.0.2.0/24 fib daddr type local ct state new masquerade
  }
}
"""

FEATURES: Final[tuple[tuple[str, Callable[[], None], str], ...]] = (
    ("veth", _veth, "load the kernel module: modprobe veth"),
    ("bridge", _bridge, "load the kernel module: modprobe bridge"),
    ("vxlan", _vxlan, "load the kernel module (modprobe vxlan), or choose --flannel-backend=host-gw"),
    ("nftables", _nft("add table inet try"), "load the kernel module: modprobe nf_tables"),
    ("nftables NAT", _nft(_NAT), "load the kernel modules: modprobe -a nft_nat nft_masq nft_fib_inet nft_numgen"),
)


def check(*, wanted: Sequence[str] = ()) -> list[Missing]:
    """Return what is missing, in the order in which to mend it; empty when all is well.

    `wanted` narrows the kernel features to those named. The nft program and namespaces are always checked first;
    without them the rest cannot be tried.
    """
    try:
        find_nft()
    except NftError as error:
        return [Missing("nft", str(error))]
    names = tuple(wanted) or tuple(name for name, _, _ in FEATURES)
    return _in_child(names)


def _in_child(names: Sequence[str]) -> list[Missing]:
    """Try in a fresh interpreter: a user namespace wants a single-threaded process, which the caller may not be."""
    run = subprocess.run(
        [sys.executable, "-c", "from wherry.kernel.features import _main; _main()", *names],
        stdout=subprocess.PIPE, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    missing: list[Missing] = pickle.loads(run.stdout)
    return missing


def _main() -> None:
    sys.stdout.buffer.write(pickle.dumps(attempt_all(sys.argv[1:])))


def attempt_all(names: Sequence[str]) -> list[Missing]:
    """Move this process into namespaces of its own and try the named features there."""
    try:
        if os.geteuid() != 0:
            netns.enter_user_namespace()
    except OSError as error:
        return [
            Missing(
                "user namespaces",
                f"ordinary users may not make user namespaces here ({error.strerror}); run as root, or allow it: "
                "sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000 "
                "kernel.apparmor_restrict_unprivileged_userns=0 (those that exist)",
            )
        ]
    try:
        netns.unshare(netns.CLONE_NEWNET | netns.CLONE_NEWNS)
    except OSError as error:
        return [
            Missing(
                "network namespaces",
                f"network and mount namespaces cannot be made ({error.strerror}); "
                "inside a container, give it the capability SYS_ADMIN",
            )
        ]
    missing: list[Missing] = []
    for name, attempt, remedy in FEATURES:
        if name not in names:
            continue
        try:
            attempt()
        except (OSError, NetlinkError) as error:
            missing.append(Missing(name, f"the kernel lacks {name} ({error}); {remedy}"))
    return missing

"""The packaged manifests: data files beside this module, their variables, and the folder they are written to.

Variables are K3s': text between ``%{`` and ``}%``, replaced as it stands. They exist in packaged manifests only; what a
user puts into the folder is applied as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

MANIFESTS = Path(__file__).with_name("manifests")

COMPONENTS = tuple(sorted(path.stem for path in MANIFESTS.glob("*.yaml")))
"""The components that have a manifest."""

_VARIABLE = re.compile(r"%\{(\w+)\}%")


class UnknownVariable(KeyError):
    """A packaged manifest has a variable that nothing sets."""


def variables(
    *, cluster_domain: str, cluster_dns: Sequence[IPv4Address | IPv6Address], registry: str = ""
) -> dict[str, str]:
    """The variables of packaged manifests; ``registry`` is the host that images come from instead of their own."""
    addresses = [str(address) for address in cluster_dns]
    return {
        "CLUSTER_DOMAIN": cluster_domain,
        "CLUSTER_DNS": addresses[0] if addresses else "",
        "CLUSTER_DNS_LIST": f"[{','.join(addresses)}]",
        "CLUSTER_DNS_IPFAMILYPOLICY": "RequireDualStack" if len(addresses) > 1 else "SingleStack",
        "SYSTEM_DEFAULT_REGISTRY": f"{registry}/" if registry else "",
        "SYSTEM_DEFAULT_REGISTRY_RAW": registry,
    }


def render(text: str, values: Mapping[str, str]) -> str:
    """Put the variables in. Raises UnknownVariable."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise UnknownVariable(found[1])
        return values[found[1]]

    return _VARIABLE.sub(value, text)


def stage(folder: Path, values: Mapping[str, str], *, disabled: Sequence[str]) -> None:
    """Write the manifest of every component that is not disabled, over whatever is there.

    What a disabled component left is for its removal, which takes the file last. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in COMPONENTS:
        if name not in disabled:
            text = render(manifest(name), values)
            _write(folder / f"{name}.yaml", text)


def manifest(name: str) -> str:
    """A component's manifest with its variables still in it."""
    return (MANIFESTS / f"{name}.yaml").read_text()


def _write(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only."""
    draft = path.with_name(f".{path.name}.new")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(file, "w") as stream:
        stream.write(text)
    draft.replace(path)

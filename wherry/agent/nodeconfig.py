"""How a node was started, as annotations in K3s' form, so that tools which read them there read them here. Pure.

``k3s.io/node-args`` is a JSON list of the command's arguments, those of the configuration file first and each flag
apart from its value; ``k3s.io/node-env`` a JSON object of the environment variables that are read;
``k3s.io/node-config-hash`` the SHA-256 of both texts in base 32, which changes when either does. Secrets are masked.
"""

from __future__ import annotations

import json
from base64 import b32encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

from wherry.config.flags import FLAGS

ARGS: Final = "k3s.io/node-args"
ENV: Final = "k3s.io/node-env"
HASH: Final = "k3s.io/node-config-hash"

_MASK: Final = "********"
_SECRET_FLAGS: Final = frozenset((
    "--token", "-t", "--agent-token", "--datastore-endpoint", "--cluster-secret", "--etcd-s3-access-key",
    "--etcd-s3-secret-key",
))  # fmt: skip
_SECRET_NAMES: Final = frozenset(("TOKEN", "DATASTORE_ENDPOINT", "AGENT_TOKEN", "CLUSTER_SECRET"))
_SECRET_VARIABLES: Final = frozenset(f"{prefix}_{name}" for prefix in ("K3S", "WHERRY") for name in _SECRET_NAMES)
_READ: Final = frozenset(name for flag in FLAGS for name in flag.environment)
_ESCAPED: Final = str.maketrans({letter: f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"})


def node_config(
    command: str, from_file: Sequence[str], arguments: Sequence[str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the annotations for a command, the configuration file's arguments, the command line's and variables."""
    args = _json(_masked([command, *from_file, *arguments]))
    known = {name: text for name, text in environment.items() if name in _READ or name.startswith("K3S_")}
    env = _json({name: _MASK if name in _SECRET_VARIABLES else known[name] for name in sorted(known)})
    return {ARGS: args, ENV: env, HASH: b32encode(sha256((args + env).encode()).digest()).decode()}


def _masked(arguments: Iterable[str]) -> list[str]:
    found: list[str] = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if argument.startswith("--") and equals:
            found += (flag, value)
        elif argument.startswith("-t") and argument != "-t":
            found += ("-t", argument[2:])
        else:
            found.append(argument)
    return [
        _MASK if before in _SECRET_FLAGS else argument for before, argument in zip(["", *found], found, strict=False)
    ]


def _json(value: object) -> str:
    """The text that Go's encoder makes of a value."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPED)

"""The name of a node: what it may be, where it comes from, and the id that makes it unique.

A name must be a DNS name, as names of Kubernetes objects are, and fit into the label `kubernetes.io/hostname`, which
every node carries.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from pathlib import Path

from wherry.config.errors import ConfigError
from wherry.config.parse import is_dns_name

LONGEST = 63  # of a label's value
_NAMELESS = ("", "localhost", "localhost.localdomain", "localhost4", "localhost6", "(none)")
_FIX = "give --node-name or WHERRY_NODE_NAME (K3S_NODE_NAME)"
_ID = re.compile(r"[0-9a-f]{8}")


def host_name() -> str:
    """What this machine is called."""
    return socket.gethostname()


def node_name(given: str, *, host: str, id_: str = "") -> str:
    """The node's name: as given, else the host's; in lower case, followed by ``id_`` where there is one.

    Raises ConfigError where that is no usable name, which says what to give (promise 29: hosts called `localhost` or
    nothing need a name to be given).
    """
    name = (given or host).lower()
    if not given and name in _NAMELESS:
        raise ConfigError(f"this host is called {host!r}, which cannot name a node: {_FIX}")
    whose = f"--node-name: {given!r}" if given else f"this host is called {host!r}, which"
    fix = "" if given else f": {_FIX}"
    if not is_dns_name(name):
        raise ConfigError(f"{whose} is no DNS name (letters, digits, '-', '.'; each part at most 63 characters){fix}")
    full = f"{name}-{id_}" if id_ else name
    if len(full) > LONGEST:
        added = " with the id of --with-node-id" if id_ else ""
        raise ConfigError(
            f"{whose} is too long to name a node: {len(full)} characters{added}, and label kubernetes.io/hostname "
            f"holds {LONGEST}{fix or '; give a shorter one'}"
        )
    return full


def node_id(data_dir: Path) -> str:
    """The id of this machine: eight hexadecimal digits, made once and kept in the data folder. Raises ConfigError."""
    path = data_dir / "agent" / "node-id"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            found = path.read_text().strip()
        else:
            found = secrets.token_hex(4)
            with os.fdopen(file, "w") as writing:
                writing.write(found)
    except OSError as error:
        raise ConfigError(f"--with-node-id: {path}: {error.strerror}; give a unique --node-name instead") from error
    if not _ID.fullmatch(found):
        raise ConfigError(f"--with-node-id: {path} holds no id of eight hexadecimal digits; remove it to get a new one")
    return found

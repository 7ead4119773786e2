"""Where a sandbox keeps its state, and what a sandbox may be called."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from wherry.config.errors import ConfigError
from wherry.sandbox.published import Published

#: Set in the environment of every process of a sandbox, so that what is left after a crash can be found.
MARKER = "WHERRY_SANDBOX"

#: Folders inside a sandbox's own mount namespace.
RUN_DIR = Path("/run/wherry")
NETNS_DIR = Path("/run/netns")
API_SOCKET = RUN_DIR / "api.sock"

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")


class NodeEntry(msgspec.Struct):
    """A node of the sandbox: its number decides its address on the LAN; a stopped one has no power.

    ``isolated_from`` names what it was cut from: nodes, or the words of :mod:`wherry.sandbox.isolation`.
    """

    name: str
    number: int
    running: bool = True
    isolated_from: list[str] = []


class Record(msgspec.Struct):
    """What a sandbox remembers of itself, in ``sandbox.json``."""

    name: str
    values: dict[str, list[str]]
    nodes: list[NodeEntry]
    api_port: int
    published: list[Published] = []
    arguments: list[str] = []
    """What it was started with: the configuration file's arguments and the command line's."""


def state_home(environment: Mapping[str, str]) -> Path:
    """The folder that holds all sandboxes: ``$XDG_STATE_HOME/wherry``, by default ``~/.local/state/wherry``."""
    home = environment.get("XDG_STATE_HOME") or ""
    # The specification of these folders says that a relative one is to be ignored.
    base = Path(home) if home.startswith("/") else Path(os.path.expanduser("~")) / ".local/state"
    return base / "wherry"


class Layout:
    """The files of one sandbox."""

    def __init__(self, home: Path, name: str) -> None:
        """Raises ConfigError where the name or the folder cannot be used."""
        if not _NAME.fullmatch(name):
            raise ConfigError(f"--name: {name!r} is no name of at most 40 lower-case letters, digits and '-'")
        self.name = name
        self.directory = home.absolute() / name
        if self.directory.is_relative_to("/run"):
            raise ConfigError(
                f"state folder {self.directory}: /run is replaced inside a sandbox; give another --state-dir"
            )

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.directory / "kubeconfig"

    @property
    def logs(self) -> Path:
        """One file per process."""
        return self.directory / "log"

    @property
    def control(self) -> Path:
        """The supervisor's socket."""
        return self.directory / "control.sock"

    @property
    def images(self) -> Path:
        """The image table, copied so that the sandbox does not depend on the file given."""
        return self.directory / "images.yaml"

    @property
    def resolv_conf(self) -> Path:
        """The nodes' resolver configuration: the host's search domains at the time of `up`, the way to its servers."""
        return self.directory / "resolv.conf"

    def agent(self, node: str) -> Path:
        """A node's data folder."""
        return self.directory / "agent" / node

    def log(self, process: str) -> Path:
        """The log of a process."""
        return self.logs / f"{process}.log"

    def save(self, record: Record) -> None:
        """Write ``sandbox.json`` in one step."""
        draft = self.directory / "sandbox.json.new"
        draft.write_bytes(msgspec.json.encode(record))
        draft.replace(self.directory / "sandbox.json")

    def load(self) -> Record:
        """Read ``sandbox.json``. Raises ConfigError where there is no such sandbox or the file is damaged."""
        path = self.directory / "sandbox.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Record)
        except FileNotFoundError as error:
            raise ConfigError(
                f"there is no sandbox {self.name!r}; start one by `wherry up{self._name_option}`"
            ) from error
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigError(
                f"{path} is damaged ({error}); remove the sandbox by `wherry down{self._name_option}`"
            ) from error

    @property
    def _name_option(self) -> str:
        return "" if self.name == "default" else f" --name {self.name}"


def names(home: Path) -> list[str]:
    """The sandboxes that have left a folder below ``home``."""
    if not home.is_dir():
        return []
    return sorted(p.name for p in home.iterdir() if p.is_dir() and _NAME.fullmatch(p.name))

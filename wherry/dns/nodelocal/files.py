"""The folder that the node's server reads: what the volumes of a DNS pod would hold."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from wherry.dns.nodelocal.corefile import CUSTOM, LEFT_OUT, PART, for_node
from wherry.kube.objects import ConfigMap

COREFILE = "Corefile"
CUSTOM_FOLDER = "custom"
RESOLV_CONF = "resolv.conf"
PROCESS = "pid"


class Folder:
    """Below ``root``: the Corefile in the node's form, the other keys as they are, `custom/`, and `resolv.conf`."""

    def __init__(self, root: Path, resolv_conf: Path, *, left_out: Collection[str] = LEFT_OUT) -> None:
        self.root = root
        self._left_out = left_out
        self.corefile = root / COREFILE
        self._resolv_conf = resolv_conf
        self._paths = {"/etc/coredns/": f"{root}/", "/etc/resolv.conf": f"{root / RESOLV_CONF}"}

    def write(self, config: ConfigMap, custom: ConfigMap | None) -> None:
        """Make it hold these; a file that is right already is not touched. Raises OSError.

        The Corefile comes last, as a server that waits for it then finds the rest.
        """
        own = {name: data for name, data in _keys(config).items() if name not in (RESOLV_CONF, PROCESS)}
        corefile = own.pop(COREFILE, b"")
        folder = self.root / CUSTOM_FOLDER
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._link()
        extra = {
            name: self._derived(data, part=name.endswith(PART)) if name.endswith(CUSTOM) else data
            for name, data in (_keys(custom) if custom is not None else {}).items()
        }
        _fill(folder, extra)
        _fill(self.root, own | {COREFILE: self._derived(corefile)}, keep=(RESOLV_CONF, PROCESS))

    def process(self) -> int:
        """The process id of the server, 0 where none has been started."""
        try:
            return int((self.root / PROCESS).read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _derived(self, data: bytes, *, part: bool = False) -> bytes:
        text = for_node(data.decode(errors="surrogateescape"), self._paths, part=part, left_out=self._left_out)
        return text.encode(errors="surrogateescape")

    def _link(self) -> None:
        link = self.root / RESOLV_CONF
        if not link.is_symlink() or Path(os.readlink(link)) != self._resolv_conf:
            link.unlink(missing_ok=True)
            link.symlink_to(self._resolv_conf)


def _keys(config: ConfigMap) -> dict[str, bytes]:
    """All keys, which the API takes only where they are names of files."""
    return {**{name: text.encode() for name, text in config.data.items()}, **config.binary_data}


def _fill(folder: Path, files: Mapping[str, bytes], *, keep: tuple[str, ...] = ()) -> None:
    for path in folder.iterdir():
        if path.name not in files and path.name not in keep and not path.is_dir():
            path.unlink()
    for name, data in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != data:
            draft = folder / f"..{name}.new"
            draft.write_bytes(data)
            draft.replace(path)

"""A file system that exists only in a dict, for tests of `view` and `bubblewrap`."""

from __future__ import annotations

from collections.abc import Mapping

from wherry.pods.runtime.view import Entry


class FakeTree:
    """A `view.Tree`: path to None (a directory), ``""`` (a file) or the target of a link."""

    def __init__(self, paths: Mapping[str, str | None]) -> None:
        self._paths = dict(paths)

    def kind(self, path: str) -> Entry | None:
        """See `Tree.kind`."""
        if path == "/":
            return "directory"
        if path not in self._paths:
            return None
        found = self._paths[path]
        return "directory" if found is None else "link" if found else "file"

    def target(self, path: str) -> str:
        """See `Tree.target`."""
        found = self._paths[path]
        if not found:
            raise OSError(22, "Invalid argument", path)
        return found

    def entries(self, path: str) -> list[str]:
        """See `Tree.entries`."""
        prefix = path.rstrip("/") + "/"
        return sorted({name[len(prefix) :].split("/")[0] for name in self._paths if name.startswith(prefix)})


def debian() -> FakeTree:
    """What matters here of a Debian root: merged /usr, links into /run, a resolv.conf that is a link."""
    return FakeTree(
        {
            "/bin": "usr/bin",
            "/etc": None,
            "/etc/hostname": "",
            "/etc/nginx": None,
            "/etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf",
            "/usr": None,
            "/usr/bin": None,
            "/usr/share": None,
            "/var": None,
            "/var/lock": "/run/lock",
            "/var/run": "/run",
        }
    )

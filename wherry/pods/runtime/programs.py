"""Programs of the host that the runtime needs."""

from __future__ import annotations

import shutil

from msgspec import Struct


class Programs(Struct, frozen=True):
    """Absolute paths of helper programs and directories that containers must not see."""

    bwrap: str = "/usr/bin/bwrap"
    setpriv: str = "/usr/bin/setpriv"
    setsid: str = "/usr/bin/setsid"
    sleep: str = "/usr/bin/sleep"
    env: str = "/usr/bin/env"
    hidden: tuple[str, ...] = ()
    """Directories of the host covered by an empty one in every container: state directories with keys and secrets."""


def find_programs(*, hidden: tuple[str, ...] = ()) -> Programs:
    """Locate the helpers on PATH. Raises `FileNotFoundError` with one line that says what to install."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise FileNotFoundError("bwrap is not installed: install the package bubblewrap")
    usual = Programs()
    return Programs(
        bwrap=bwrap,
        setpriv=shutil.which("setpriv") or usual.setpriv,
        setsid=shutil.which("setsid") or usual.setsid,
        sleep=shutil.which("sleep") or usual.sleep,
        env=shutil.which("env") or usual.env,
        hidden=hidden,
    )

"""Static bearer tokens in a CSV file: `token,user,uid,"group1,group2"`, one a line.

The format is that of kube-apiserver's --token-auth-file.

The file is read again when it changes, so a token can be added or withdrawn while the server runs: an added one counts
at once, a withdrawn one for at most a second more.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path

from wherry.apiserver.authn.identity import Identity, authenticated

_CHECK_INTERVAL = 1.0  # seconds between looks at the file's time of change


class TokenFileError(Exception):
    """The token file cannot be used; the text is one line."""


class TokenFile:
    """The tokens of one file. A file that became unreadable or malformed keeps the last good tokens."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._checked = clock()
        self._stamp = self._stat()
        self._tokens = self._read()

    def lookup(self, token: str) -> Identity | None:
        """Who holds `token`."""
        now = self._clock()
        # A token that is not known may have been added just now, by whoever starts a node; a look costs microseconds.
        if token not in self._tokens or now - self._checked >= _CHECK_INTERVAL:
            self._checked = now
            self._refresh()
        return self._tokens.get(token)

    def _refresh(self) -> None:
        try:
            stamp = self._stat()
            if stamp != self._stamp:
                self._tokens = self._read()
                self._stamp = stamp
        except TokenFileError:
            return  # being replaced: the next look finds it

    def _stat(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise TokenFileError(f"cannot read the token file {self._path}: {error.strerror}") from error
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> dict[str, Identity]:
        try:
            text = self._path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise TokenFileError(f"cannot read the token file {self._path}: {error}") from error
        tokens: dict[str, Identity] = {}
        for number, row in enumerate(csv.reader(text.splitlines()), 1):
            if not row or row[0].lstrip().startswith("#"):
                continue
            if len(row) < 3 or not row[0] or not row[1]:
                raise TokenFileError(f"{self._path}, line {number}: expected token,user,uid[,groups]")
            groups = tuple(group.strip() for group in row[3].split(",") if group.strip()) if len(row) > 3 else ()
            tokens[row[0]] = authenticated(row[1], row[2], groups)
        return tokens

"""nftables of one network namespace through the nft(8) program.

Contract of `Nft`:

* A commit is one kernel transaction: all of it is in force when `commit` returns, or nothing is and it raises.
* Commits take effect in the order in which they were called.
* A commit whose caller was cancelled may have happened or not; later ones are not disturbed. The caller then knows
  as little as after a crash, and reloads its table.
* When the child dies, commits under way raise LOST (same uncertainty), and the next one starts a new child.

Small transactions go as one `;`-joined line to a long-lived `nft -i` (0.2 to 0.4 ms each instead of 5 ms for a new
process); libnftables inside our process is out of the question by its licence. nft prints nothing for a line that
went well, so each line is followed by one that is certain to be a syntax error and carries a number: its complaint
ends the answer. Large ones go through `nft -f -`, so that the child stays small.

Nobody but `nft -i` sees rules coded here; one owner writes one table, see `transaction.Transaction`.
"""

import asyncio
import os
import re
import shutil
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

import msgspec

from wherry.kernel.child import Child
from wherry.kernel.model import Family
from wherry.kernel.transaction import Transaction

_LINE_BYTES: Final = 32 << 10
_SEARCH_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin"

_KIND_OF_TEXT: Final = (
    ("No such file or directory", "NOT_FOUND"),
    ("File exists", "EXISTS"),
    ("Device or resource busy", "BUSY"),
    ("Operation not permitted", "DENIED"),
    ("Operation not supported", "UNSUPPORTED"),
    ("syntax error", "INVALID"),
)


class NftErrorKind(Enum):
    """What went wrong, for callers to decide on."""

    NOT_FOUND = "not found"
    EXISTS = "exists"
    BUSY = "busy"
    """Still referred to."""
    DENIED = "denied"
    UNSUPPORTED = "unsupported"
    """The kernel lacks the feature."""
    INVALID = "invalid"
    """Anything else that nft or the kernel refused."""
    LOST = "lost"
    """The child died; whether the transaction happened is unknown."""
    MISSING = "missing"
    """There is no nft program."""


class NftError(Exception):
    """A refused transaction: its `kind`, what nft said, and the `statement` it pointed at, where it did."""

    def __init__(self, kind: NftErrorKind, text: str, statement: str = "") -> None:
        self.kind = kind
        self.text = text
        self.statement = statement
        super().__init__(f"nft: {text}" + (f": {statement[:300]}" if statement else ""))


def find_nft() -> str:
    """Return the path of the nft program; ordinary users often lack /usr/sbin on theirs. Raises NftError(MISSING)."""
    found = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:{_SEARCH_PATH}")
    if found is None:
        raise NftError(NftErrorKind.MISSING, "program not found; install the package nftables")
    return found


def parse_error(output: str) -> NftError | None:
    """Return the first error in what nft printed: the message, and the statement its caret points into."""
    lines = output.splitlines()
    for number, line in enumerate(lines):
        _, found, message = line.partition("Error: ")
        if not found:
            continue
        name = next((kind for text, kind in _KIND_OF_TEXT if text in message), "INVALID")
        statement = ""
        if number + 2 < len(lines) and (caret := lines[number + 2].find("^")) >= 0:
            statement = _statement_at(lines[number + 1], caret)
        return NftError(NftErrorKind[name], message, statement)
    return None


def _statement_at(line: str, caret: int) -> str:
    """Return the `;`-separated statement around a position, not looking inside braces and strings."""
    start = depth = 0
    quoted = False
    for place, letter in enumerate(line):
        if letter == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif letter in "{}":
            depth += 1 if letter == "{" else -1
        elif letter == ";" and depth == 0:
            if place > caret:
                return line[start:place].strip()
            start = place + 1
    return line[start:].strip()


class Dialogue:
    """The conversation with `nft -i`, without the pipes: lines in, answers out, in order."""

    _MARK: Final = re.compile(rb"Error: [^\n]*\n@wherry-(\d+)\n\^+\n")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._number = 0

    def ask(self, line: str) -> tuple[int, bytes]:
        """Return a number for the line and the bytes that ask it. Raises ValueError for what is not one line."""
        if "\n" in line or line.endswith("\\"):
            raise ValueError("nft -i takes one line")
        self._number += 1
        # A tab would ask for completion.
        return self._number, f"{line.replace(chr(9), ' ')}\n@wherry-{self._number}\n".encode()

    def feed(self, data: bytes) -> list[tuple[int, str]]:
        """Take bytes from nft; return the (number, text) of each answer that is complete."""
        self._buffer += data
        answers: list[tuple[int, str]] = []
        if not self._buffer.endswith(b"^\n"):  # nft prints a complaint in five pieces
            return answers
        while found := self._MARK.search(self._buffer):
            answers.append((int(found[1]), self._buffer[: found.start()].decode(errors="replace")))
            del self._buffer[: found.end()]
        return answers


class Nft:
    """The nft program in the namespace at `netns_path` (None: the calling thread's), for one event loop.

    `on_processes` is told the ids of all its running processes before a new one is given anything to do.
    """

    def __init__(
        self,
        netns_path: str | os.PathLike[str] | None = None,
        *,
        on_processes: Callable[[set[int]], None] | None = None,
    ) -> None:
        self._netns = netns_path
        self.processes: set[int] = set()
        """The ids of the nft programs that run for this."""
        self._listeners = [] if on_processes is None else [on_processes]
        self._program = ""
        self._child: Child | None = None
        self._dialogue = Dialogue()
        self._waiting: deque[tuple[int, asyncio.Future[str]]] = deque()
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Start the child; `commit` does it too where needed. Raises NftError(MISSING)."""
        async with self._turn:
            self._running()

    def _running(self) -> Child:
        """Return the long-lived child, a new one where the last has died."""
        if self._child is None or not self._child.alive:
            if self._child is not None:
                self._ended(self._child)
            self._dialogue = Dialogue()
            self._child = self._spawn("-i", on_data=self._answered, on_end=self._died)
        return self._child

    def _spawn(self, *arguments: str, **callbacks: Any) -> Child:
        # nft -i writes its history to $HOME when it ends; messages must be in English to be understood.
        environment = {"LC_ALL": "C", "HOME": "/nonexistent"}
        self._program = self._program or find_nft()
        child = Child([self._program, *arguments], netns_path=self._netns, env=environment, **callbacks)
        self.processes.add(child.pid)
        self._tell_processes()
        return child

    def _ended(self, child: Child) -> None:
        self.processes.discard(child.pid)
        self._tell_processes()

    def _tell_processes(self) -> None:
        for tell in self._listeners:
            tell(self.processes)

    def follow_processes(self, tell: Callable[[set[int]], None]) -> None:
        """Let ``tell`` know as `on_processes` does, of those that run now at once."""
        self._listeners.append(tell)
        tell(self.processes)

    async def close(self) -> None:
        """End the child; commits under way are finished first."""
        if self._child is not None:
            self._child.close_input()
            await self._child.ended()
            self._ended(self._child)
            self._child = None

    async def commit(self, batch: Transaction | str) -> None:
        """Carry out a transaction. Raises NftError; nothing is changed then, except perhaps with kind LOST."""
        statements = batch.statements if isinstance(batch, Transaction) else [batch]
        size = sum(map(len, statements))
        if not any(statement.strip() for statement in statements):
            return
        if size > _LINE_BYTES or any("\n" in statement for statement in statements):
            output = await self._load("\n".join(statements) + "\n")
        else:
            output = await self._say("; ".join(statements))
        if error := parse_error(output):
            raise error

    async def list_table(self, family: Family, name: str) -> list[dict[str, Any]]:
        """Return a table's objects as nft's JSON has them (libnftables-json(5)). Slow; raises NftError(NOT_FOUND)."""
        child = self._spawn("-j", "list", "table", family, name)
        output = await self._finish(child)
        if error := parse_error(output):
            raise error
        objects: list[dict[str, Any]] = msgspec.json.decode(output)["nftables"]
        return objects

    async def _say(self, line: str) -> str:
        """Ask the long-lived child and return its answer."""
        async with self._turn:
            child = self._running()
            number, data = self._dialogue.ask(line)
            answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._waiting.append((number, answer))
            child.write(data)
        # Shielded, so that the answer of a caller who has gone is still waited for by what must come after it.
        return await asyncio.shield(answer)

    async def _load(self, text: str) -> str:
        """Run `nft -f -` after everything said so far, while nothing else is said."""
        async with self._turn:
            if self._waiting:
                await asyncio.wait([answer for _, answer in self._waiting])
            child = self._spawn("-f", "-")
            child.write(text.encode())
            child.close_input()
            return await self._finish(child)

    async def _finish(self, child: Child) -> str:
        """Wait for a one-shot child; a caller that is cancelled takes the child with it."""
        try:
            code = await child.ended()
        except asyncio.CancelledError:
            child.kill()
            await child.ended()
            raise
        finally:
            self._ended(child)
        output = child.output.decode(errors="replace")
        if code < 0:
            raise NftError(NftErrorKind.LOST, f"ended by signal {-code}")
        if code > 0 and parse_error(output) is None:
            raise NftError(NftErrorKind.INVALID, output.strip() or f"exit status {code}")
        return output

    def _answered(self, data: bytes) -> None:
        for number, text in self._dialogue.feed(data):
            while self._waiting:
                expected, answer = self._waiting.popleft()
                if not answer.done():
                    answer.set_result(text)
                if expected == number:
                    break

    def _died(self) -> None:
        while self._waiting:
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(NftError(NftErrorKind.LOST, "the nft process ended"))

"""The grammar of a Corefile: blocks, directives, snippets and imports, read into plain lines.

Files that a pattern brings in are optional: finding none is no error and no warning. What is imported must be whole by
itself, so that an error names the file it is in. A plain file name must exist.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from wherry.dns.corefile import registry
from wherry.dns.corefile.model import Directive
from wherry.dns.corefile.patterns import matches_of
from wherry.dns.corefile.tokens import Token, fill_in, tokens_of

_MOST_IMPORTS = 10_000
_MOST_TOKENS = 500_000  # what imports of imports may grow to
_LARGEST = 4 * 1024 * 1024  # bytes of an imported file; a ConfigMap holds 1 MiB
_DEEPEST = 64  # bodies in bodies, imports in imports

_Line = TypeVar("_Line")


@dataclass(slots=True)
class RawBlock:
    """A server block as it stands there: keys are not looked into."""

    keys: list[str]
    directives: list[Directive]
    file: str
    line: int


@dataclass(slots=True)
class Parsed:
    """What one look at a Corefile gave, also where it ended in an error."""

    blocks: list[RawBlock] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    """Contents of every file that was read, left-out ones included."""
    patterns: list[str] = field(default_factory=list)
    """Absolute patterns that were looked for."""
    optional: dict[str, str] = field(default_factory=dict)
    """For every file that came by a pattern, or through one that did: the file that the pattern matched."""


class Parser:
    """Reads one Corefile; `result` holds what was seen so far even after an error."""

    def __init__(self, *, left_out: frozenset[str] = frozenset()) -> None:
        """`left_out` are files that patterns shall pass over."""
        self.result = Parsed()
        self.left_out = left_out
        self._snippets: dict[str, list[Token]] = {}
        self._read: dict[str, list[Token]] = {}
        self._imports = 0
        self._tokens = 0

    def parse(self, path: str) -> Parsed:
        """Read a Corefile; raises CorefileError, OSError."""
        with open(path, "rb") as file:
            content = file.read()
        return self.parse_text(content, path)

    def parse_text(self, content: bytes, path: str) -> Parsed:
        """Read a Corefile's content; raises CorefileError."""
        self.result.files[path] = content
        self.result.blocks += self._blocks(_Cursor(list(tokens_of(content.decode(errors="replace"), path))), 0)
        return self.result

    def _blocks(self, cursor: "_Cursor", depth: int) -> Iterator[RawBlock]:
        while token := cursor.take():
            if token.first and token.is_mark("import"):
                yield from self._import(token, cursor, depth, self._blocks)
                continue
            keys = self._keys(token, cursor)
            if len(keys) == 1 and keys[0].startswith("(") and keys[0].endswith(")"):
                self._define(keys[0][1:-1], token, cursor)
                continue
            braces = cursor.next_is("{")
            if braces:
                cursor.take()
            directives = list(self._lines(cursor, depth, registry.complaint_of))
            if braces:
                cursor.close(token)
            elif stray := cursor.take():
                raise stray.error("Unexpected '}' because no matching opening brace")
            if keys:
                yield RawBlock(keys, directives, token.file, token.line)

    def _keys(self, token: Token, cursor: "_Cursor") -> list[str]:
        keys: list[str] = []
        while True:
            text = fill_in(token.text)
            if token.is_mark("}"):
                raise token.error("Unexpected '}' because no matching opening brace")
            if token.is_mark("{"):
                raise token.error(f"Expected a server block's address but had '{text}'")
            more = text.endswith(",")
            if text := text.removesuffix(","):
                keys.append(text)
            following = cursor.peek()
            if following is None and more:
                raise token.error("Unexpected EOF")
            if following is None or (following.first and not more):
                return keys
            if following.is_mark("{"):
                if more:
                    raise following.error("Expected another address but had '{' - check for extra comma")
                return keys
            token = following
            cursor.take()

    def _define(self, name: str, token: Token, cursor: "_Cursor") -> None:
        if name in self._snippets:
            raise token.error(f"redeclaration of previously declared snippet {name}")
        opening = cursor.take()
        if opening is None or not opening.is_mark("{"):
            raise token.error(f"Syntax error: Unexpected token '{opening.text if opening else 'EOF'}', expecting '{{'")
        body: list[Token] = []
        nesting = 1
        while inner := cursor.take():
            nesting += inner.is_mark("{") - inner.is_mark("}")
            if not nesting:
                self._snippets[name] = body
                return
            body.append(inner)
        raise token.error("Unexpected EOF: the snippet that opens here never ends")

    def _lines(
        self, cursor: "_Cursor", depth: int, complaint_of: Callable[[str], str | None] | None, plugin: str = ""
    ) -> Iterator[Directive]:
        """Lines up to a closing brace, which stays, or the end; `complaint_of` says what is wrong with a name."""
        while (token := cursor.peek()) and not token.is_mark("}"):
            cursor.take()
            if token.is_mark("import"):
                yield from self._import(
                    token, cursor, depth, lambda inner, deeper: self._whole(inner, deeper, complaint_of, plugin)
                )
                continue
            name = fill_in(token.text)
            if token.is_mark("{"):
                raise token.error("Unexpected '{': a directive's name must come before it")
            if complaint_of and (complaint := complaint_of(name)):
                raise token.error(complaint)
            yield self._line(name, token, cursor, depth, plugin)

    def _line(self, name: str, token: Token, cursor: "_Cursor", depth: int, plugin: str) -> Directive:
        args = []
        while (following := cursor.peek()) and not following.first and not following.is_mark("{"):
            if following.is_mark("}"):
                raise following.error("Unexpected '}' because no matching opening brace")
            args.append(fill_in(following.text))
            cursor.take()
        line = Directive(name, args, [], token.file, token.line, plugin or name)
        if following and following.is_mark("{"):
            cursor.take()
            if depth >= _DEEPEST:
                raise following.error(f"blocks are nested more than {_DEEPEST} deep")
            line.body += self._lines(cursor, depth + 1, None, line.plugin)
            cursor.close(token)
        return line

    def _whole(
        self, cursor: "_Cursor", depth: int, complaint_of: Callable[[str], str | None] | None, plugin: str
    ) -> Iterator[Directive]:
        yield from self._lines(cursor, depth, complaint_of, plugin)
        if stray := cursor.take():
            raise stray.error("Unexpected '}' because no matching opening brace")

    def _import(
        self, token: Token, cursor: "_Cursor", depth: int, read: "Callable[[_Cursor, int], Iterator[_Line]]"
    ) -> Iterator[_Line]:
        """Read what an import brings in as if it stood in its place."""
        argument = cursor.peek()
        if argument is None or argument.first:
            raise token.error("Wrong argument count or unexpected line ending after 'import'")
        cursor.take()
        if not (pattern := fill_in(argument.text)):
            raise argument.error("Import requires a non-empty filepath")
        following = cursor.peek()
        if following and not following.first and not following.is_mark("}"):
            raise following.error("Import takes only one argument (glob pattern or file)")
        if pattern in self._snippets:
            yield from self._nested(token, self._snippets[pattern], depth, read)
            return
        self._count(token, 0)
        for path, optional in self._files(pattern, argument):
            if optional or token.file in self.result.optional:
                self.result.optional.setdefault(path, self.result.optional.get(token.file, path))
            yield from self._nested(token, self._tokens_of(path, argument), depth, read)

    def _nested(
        self, token: Token, tokens: list[Token], depth: int, read: "Callable[[_Cursor, int], Iterator[_Line]]"
    ) -> Iterator[_Line]:
        self._count(token, len(tokens))
        if depth >= _DEEPEST:
            raise token.error(f"maximum import depth ({_DEEPEST}) exceeded")
        yield from read(_Cursor(tokens), depth + 1)

    def _count(self, token: Token, tokens: int) -> None:
        self._imports += 1
        self._tokens += tokens
        if self._imports > _MOST_IMPORTS:
            raise token.error(f"maximum snippet import depth ({_MOST_IMPORTS}) exceeded")
        if self._tokens > _MOST_TOKENS:
            raise token.error(f"imports grow to more than {_MOST_TOKENS} words")

    def _files(self, pattern: str, token: Token) -> list[tuple[str, bool]]:
        """The files that an import names, in order, and whether they came by a pattern."""
        pattern = os.path.join(os.path.dirname(os.path.abspath(token.file)), pattern)
        try:
            found = matches_of(pattern)
        except ValueError as error:
            raise token.error(str(error)) from error
        if found is None:
            if not os.path.exists(pattern):
                self.result.patterns.append(pattern)
                raise token.error(f"File to import not found: {pattern}")
            return [(pattern, False)]
        self.result.patterns.append(pattern)
        for path in self.left_out.intersection(found):
            with contextlib.suppress(OSError):
                self._content_of(path)
        return [(path, True) for path in found if path not in self.left_out]

    def _tokens_of(self, path: str, token: Token) -> list[Token]:
        if path not in self._read:
            try:
                content = self._content_of(path)
            except OSError as error:
                reason = "is a directory" if isinstance(error, IsADirectoryError) else str(error.strerror)
                failure = token.error(f"Could not import {path}: {reason}")
                failure.files = (path, token.file)
                raise failure from error
            self._read[path] = list(tokens_of(content.decode(errors="replace"), path))
        return self._read[path]

    def _content_of(self, path: str) -> bytes:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            # Such a file may never end, or never begin.
            raise OSError(errno.EINVAL, "is not a regular file")
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise OSError(errno.EFBIG, f"is larger than {_LARGEST} bytes")
        self.result.files[path] = content
        return content


class _Cursor:
    """A place in a list of tokens."""

    __slots__ = ("_place", "_tokens")

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._place = 0

    def peek(self) -> Token | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def take(self) -> Token | None:
        token = self.peek()
        self._place += token is not None
        return token

    def next_is(self, mark: str) -> bool:
        token = self.peek()
        return token is not None and token.is_mark(mark)

    def close(self, opened: Token) -> None:
        """Take the brace that ends what `opened` began, after which the line must end; raises CorefileError."""
        if self.take() is None:
            raise opened.error(f"Unexpected EOF: the block of '{opened.text}' that opens here never ends")
        following = self.peek()
        if following and not following.first and not following.is_mark("}"):
            raise following.error(f"Syntax error: Unexpected token '{following.text}', expecting the end of the line")

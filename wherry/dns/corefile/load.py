"""From a Corefile to blocks whose plugins are set up.

A Corefile that holds replaces what serves; one that does not leaves it. At the start there is nothing to leave in
force: then a bad file that came by an import's pattern (`coredns-custom`) is left out and reported, as the cluster
would have no DNS otherwise. It stays left out, also over reloads, until its content changes.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

from wherry.dns.corefile import registry
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.corefile.model import Block, Directive, Problem, Process, ServerConfig
from wherry.dns.corefile.parser import Parsed, Parser
from wherry.dns.corefile.zones import keys_of
from wherry.dns.errors import DnsError

log = logging.getLogger(__name__)

DEFAULT = b"whoami\nlog\n"
"""What is served on `.` where there is no Corefile."""


class Look(NamedTuple):
    """What a Corefile would give, nothing set up: for whoever watches it."""

    digest: str
    files: tuple[str, ...]
    """Files that were read and patterns that were looked for, absolute."""


def look(path: str | None, process: Process) -> Look:
    """Read a Corefile without setting anything up; a broken or missing one has a digest as well. Raises nothing."""
    parser = Parser(left_out=frozenset(_left_out(process)))
    try:
        _read(parser, path, process)
    except (CorefileError, OSError) as error:
        return Look(_digest_of_content(parser.result, str(error)), _files_of(parser.result, path))
    return Look(_digest(parser.result, parser.left_out), _files_of(parser.result, path))


def load(path: str | None, process: Process, *, strict: bool) -> ServerConfig:
    """Read a Corefile and set up its plugins; raises CorefileError and OSError.

    `path` None is `Corefile` in the working directory, or what CoreDNS serves without one. Not `strict`: leave out
    files that came by a pattern and are bad.
    """
    left_out = {name: text for name, text in _left_out(process).items() if _content(name) == text}
    while True:
        parser = Parser(left_out=frozenset(left_out))
        try:
            _read(parser, path, process)
            config = _configured(parser, path, process)
        except CorefileError as error:
            culprit = next(filter(None, map(parser.result.optional.get, error.files)), None)
            if strict or culprit is None or culprit in left_out:
                raise
            left_out[culprit] = parser.result.files.get(culprit)
            process.report(Problem("BadCustomFile", f"{culprit} is left out until it changes: {error}"))
            continue
        process.state["corefile"] = left_out
        process.metrics.gauge(
            "wherry_dns_custom_files_left_out", "Imported files that are bad and therefore not in force."
        ).set(len(left_out))
        return config


def load_without_custom(config: ServerConfig, error: Exception) -> ServerConfig | None:
    """The first configuration again without what patterns brought in, where the whole could not be started.

    None where nothing was brought in. An address that cannot be had shows only when plugins start, and then nobody can
    tell which file asked for it. Raises CorefileError and OSError.
    """
    process = config.process
    if not config.optional:
        return None
    out = _left_out(process) | {name: _content(name) for name in config.optional}
    process.report(
        Problem("BadCustomFile", f"{', '.join(sorted(config.optional))}: left out until they change: {error}")
    )
    process.state["corefile"] = out
    return load(config.source, process, strict=False)


def _left_out(process: Process) -> dict[str, bytes | None]:
    return cast("dict[str, bytes | None]", process.state.get("corefile", {}))


def _content(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def _read(parser: Parser, path: str | None, process: Process) -> None:
    if path is not None or os.path.exists("Corefile"):
        parser.parse(path or "Corefile")
    else:
        parser.parse_text(b".:%d {\n%s}\n" % (process.default_port, DEFAULT), "Corefile")


def _files_of(parsed: Parsed, path: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(os.path.abspath, [path or "Corefile", *parsed.files, *parsed.patterns])))


def _configured(parser: Parser, path: str | None, process: Process) -> ServerConfig:
    parsed = parser.result
    config = ServerConfig(process, Path.cwd(), source=path)
    config.digest = _digest(parsed, parser.left_out)
    config.files = _files_of(parsed, path)
    config.optional = frozenset(parsed.optional.values())
    if not parsed.blocks:
        # Not what anybody means: a file caught while it was being written, or a volume without its keys.
        raise CorefileError("there is no server block", file=path or "Corefile", line=1)
    for raw in parsed.blocks:
        keys = keys_of(raw.keys, process.default_port, file=raw.file, line=raw.line)
        config.blocks.append(Block(keys, raw.directives, raw.file, raw.line, config))
    for block in config.blocks:
        _set_up(block)
    _check_keys(config.blocks)
    _check_overlaps(config.blocks)
    _warn(config.blocks)
    return config


def _set_up(block: Block) -> None:
    names = {directive.name for directive in block.directives}
    for name in sorted(names, key=registry.POSITION.__getitem__):
        directives = block.named(name)
        try:
            plugin = registry.setup_of(name)(directives, block)
        except CorefileError:
            raise
        except (DnsError, OSError) as error:
            raise directives[0].error(str(error)) from error
        if plugin is not None:
            block.plugins[name] = plugin


def _check_keys(blocks: list[Block]) -> None:
    for block in blocks:
        for key in block.keys:
            if key.scheme == "tls" and block.tls is None:
                raise block.error(f"{key.text} needs the plugin tls: tls CERT KEY [CA]")


def _check_overlaps(blocks: list[Block]) -> None:
    """Two blocks may serve one zone at one address only where a view chooses between them."""
    taken: dict[tuple[str, bytes, int, str], Block] = {}
    for block in blocks:
        if block.filters:
            continue
        for key in block.keys:
            for address in block.bind or ("",):
                where = f"{key.text} on {address}" if address else key.text
                place = key.scheme, key.zone, key.port
                other = taken.get((*place, address))
                if other is not None:
                    raise _clash(block, other, f"cannot serve {where} - it is already defined")
                other = next((taken[seen] for seen in taken if seen[:3] == place and "" in (seen[3], address)), None)
                if other is not None:
                    raise _clash(block, other, f"cannot serve {where} - zone overlap listener capacity with {key.text}")
                taken[*place, address] = block


def _clash(block: Block, other: Block, text: str) -> CorefileError:
    error = block.error(f"{text}, in {other.file}:{other.line}")
    error.files = (block.file, other.file)
    return error


def _warn(blocks: list[Block]) -> None:
    """Say what is allowed and yet hardly meant."""
    if not any("kubernetes" in block.plugins for block in blocks):
        return
    for block in blocks:
        if "rewrite" in block.plugins and "kubernetes" not in block.plugins:
            log.warning(
                "%s:%d: names that are rewritten into the cluster's zone are not found in this block, which has no "
                "kubernetes plugin; put the rewrite into a file of custom lines for the main block (*.override)",
                block.file,
                block.line,
            )


def _digest(parsed: Parsed, left_out: frozenset[str]) -> str:
    expanded: list[object] = [[raw.keys, list(map(_plain, raw.directives))] for raw in parsed.blocks]
    expanded += [[name, parsed.files.get(name, b"").hex()] for name in sorted(left_out)]
    return hashlib.sha512(json.dumps(expanded).encode()).hexdigest()


def _plain(directive: Directive) -> list[object]:
    return [directive.name, directive.args, list(map(_plain, directive.body))]


def _digest_of_content(parsed: Parsed, error: str) -> str:
    def parts() -> Iterator[bytes]:
        yield error.encode(errors="replace")
        for name, content in sorted(parsed.files.items()):
            yield name.encode(errors="replace")
            yield content

    return hashlib.sha512(b"\0".join(parts())).hexdigest()

"""From flags, files, environment and defaults to one value per flag.

Precedence, strongest first: command line, configuration file, environment, default. A list given on the command line
replaces the file's whole list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from wherry.config.errors import ConfigError
from wherry.config.files import read_files
from wherry.config.flags import BY_NAME, Flag, flags_of

Command = Literal["server", "agent"]

_TRUE = ("1", "t", "true", "yes", "on")
_FALSE = ("0", "f", "false", "no", "off", "")


def resolve(
    command: Command, given: Mapping[str, Sequence[str]], environment: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return the values of every flag of ``command``; a switch is ``["true"]`` or ``[]``, an unset text ``[]``.

    ``given`` holds what the command line says, by flag name. Raises ConfigError for a flag that does not exist, one
    that this version cannot honour, one given twice where it takes one value, or a file that cannot be read.
    """
    named = _from(BY_NAME["config"], given, environment)
    path = Path(named[-1] if named else BY_NAME["config"].default)
    from_files = read_files(path, required=bool(named))
    known = {flag.name: flag for flag in flags_of(command)}
    for flag in known.values():
        if flag.short and flag.short in from_files:
            from_files[flag.name] = from_files.pop(flag.short)
    for name in from_files:
        # An agent may share the server's file, as K3s allows; what only servers know is then not the agent's concern.
        if name not in known and (command == "server" or name not in BY_NAME):
            raise ConfigError(f"configuration file {path}: {name}: no such flag of wherry {command}")
    for name in given:
        if name not in known:
            raise ConfigError(f"--{name}: no such flag of wherry {command}")
    return {flag.name: _value(flag, given, from_files, environment) for flag in known.values()}


def file_arguments(command: Command, given: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> list[str]:
    """What the configuration file says, as arguments of ``command``: ``--flag=value``. Raises ConfigError."""
    named = _from(BY_NAME["config"], given, environment)
    texts = read_files(Path(named[-1] if named else BY_NAME["config"].default), required=bool(named))
    names = {flag.name: flag.name for flag in flags_of(command)}
    names |= {flag.short: flag.name for flag in flags_of(command) if flag.short}
    return [f"--{names[name]}={text}" for name, said in texts.items() if name in names for text in said]


def _from(flag: Flag, given: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> list[str]:
    if flag.name in given:
        return list(given[flag.name])
    for name in flag.environment:
        if environment.get(name):
            return [environment[name]]
    return []


def _value(
    flag: Flag,
    given: Mapping[str, Sequence[str]],
    from_files: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
) -> list[str]:
    if flag.name in given:
        texts = list(given[flag.name])
    elif flag.name in from_files:
        texts = list(from_files[flag.name])
    else:
        texts = _from(flag, given, environment)
    if flag.shape == "switch":
        texts = _switch(flag, texts)
    elif flag.shape == "list":
        texts = [part for text in texts for part in text.split(",") if part]
    elif len(texts) > 1:
        raise ConfigError(f"--{flag.name} takes one value, {len(texts)} are given: {', '.join(texts)}")
    if texts and flag.missing and texts != [flag.default]:
        raise ConfigError(f"--{flag.name}: {flag.missing}")
    if not texts and flag.default:
        return [flag.default]
    return [text for text in texts if text]


def _switch(flag: Flag, texts: list[str]) -> list[str]:
    if not texts:
        return []
    text = texts[-1].lower()
    if text in _TRUE:
        return ["true"]
    if text in _FALSE:
        return []
    raise ConfigError(f"--{flag.name}: {texts[-1]!r} is neither true nor false")

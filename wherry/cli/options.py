"""Options that several commands share, and how an error becomes one line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from wherry.config.errors import ConfigError
from wherry.config.flags import Flag, flags_of
from wherry.sandbox.control import ControlError
from wherry.sandbox.layout import Layout, state_home

F = TypeVar("F", bound=Callable[..., Any])


def name_option(function: F) -> F:
    """Add ``--name`` and ``--state-dir``, which say which sandbox is meant."""
    function = click.option(
        "--state-dir", type=click.Path(path_type=Path), envvar="WHERRY_STATE_DIR", metavar="DIR",
        help="Folder that holds the sandboxes.  [default: ~/.local/state/wherry]",
    )(function)  # fmt: skip
    return click.option("--name", default="default", show_default=True, metavar="NAME", help="The sandbox.")(function)


def layout(name: str, state_dir: Path | None) -> Layout:
    """The layout of the sandbox that name_option()'s values mean."""
    return Layout(state_dir or state_home(os.environ), name)


@contextmanager
def errors() -> Iterator[None]:
    """Turn the errors a user can do something about into one line and exit code 1."""
    try:
        yield
    except (ConfigError, ControlError) as error:
        raise click.ClickException(str(error)) from error


def flag_options(command: Literal["server", "agent"], *, leave_out: Sequence[str] = ()) -> Callable[[F], F]:
    """Add the flags of the table as options; the function gets them as keyword arguments, unset ones as None or ()."""

    def add(function: F) -> F:
        for flag in reversed(flags_of(command)):
            if flag.name not in leave_out:
                function = _option(flag)(function)
        return function

    return add


def _option(flag: Flag) -> Callable[[F], F]:
    names = [f"--{flag.name}", flag.field] + ([f"-{flag.short}"] if flag.short else [])
    told = flag.help + (f"  [default: {flag.default}]" if flag.default else "")
    if flag.environment:
        told += f"  [env: {', '.join(flag.environment)}]"
    hidden = bool(flag.missing)
    if flag.shape == "switch":
        return click.option(*names, is_flag=True, default=None, help=told, hidden=hidden)
    return click.option(*names, metavar=flag.metavar, multiple=True, help=told, hidden=hidden)


def given(command: Literal["server", "agent"], options: dict[str, Any]) -> dict[str, list[str]]:
    """Return what the command line said, by flag name, as resolve() takes it."""
    found: dict[str, list[str]] = {}
    for flag in flags_of(command):
        value = options.get(flag.field)
        if flag.shape == "switch":
            if value is not None:
                found[flag.name] = ["true" if value else "false"]
        elif value:
            found[flag.name] = list(value)
    return found


def check_images(path: Path | None) -> None:
    """Read an image table before anything is started with it. Raises ConfigError."""
    if path is None:
        return
    from wherry.pods.imagetable import ImageTableError, check_table

    try:
        check_table(path)
    except ImageTableError as error:
        raise ConfigError(f"--images: {error}") from error

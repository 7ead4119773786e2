"""Configuration files as K3s reads them: one file, its drop-ins, and ``key+`` to append.

Source: https://docs.k3s.io/installation/configuration, section "Configuration File". A key is a flag's name without
its dashes; later files replace a key, ``key+`` appends to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wherry.config.errors import ConfigError
from wherry.config.yaml import YamlError, load


def read_files(path: Path, *, required: bool) -> dict[str, list[str]]:
    """Read ``path`` and the drop-ins in ``<path>.d/``, alphabetically, into values per flag name.

    A missing file is no error unless ``required``; drop-ins count without it too. Raises ConfigError that names
    the file where one cannot be read.
    """
    layers: list[tuple[Path, Mapping[str, Any]]] = []
    if path.exists() or required:
        layers.append((path, _read(path)))
    drop_ins = Path(f"{path}.d")
    if drop_ins.is_dir():
        names = sorted(p for p in drop_ins.iterdir() if p.suffix in (".yaml", ".yml") and p.is_file())
        layers.extend((name, _read(name)) for name in names)
    return merge_layers(layers)


def merge_layers(layers: Sequence[tuple[Path, Mapping[str, Any]]]) -> dict[str, list[str]]:
    """Merge files in order: a key replaces, ``key+`` appends; every value becomes a list of texts."""
    merged: dict[str, list[str]] = {}
    for path, layer in layers:
        for key, value in layer.items():
            name, append = (key[:-1], True) if key.endswith("+") else (key, False)
            texts = _texts(path, key, value)
            merged[name] = merged.get(name, []) + texts if append else texts
    return merged


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = load(path.read_text())
    except OSError as error:
        raise ConfigError(f"configuration file {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"configuration file {path}: not text in UTF-8 (byte {error.start})") from error
    except YamlError as error:
        raise ConfigError(f"configuration file {path}: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"configuration file {path}: expected keys with values, found a {type(document).__name__}")
    return document


def _texts(path: Path, key: str, value: Any) -> list[str]:
    if isinstance(value, list):
        if any(isinstance(item, dict | list) for item in value):
            raise ConfigError(f"configuration file {path}: {key}: list items must be plain values")
        return [_text(item) for item in value]
    if isinstance(value, dict):
        raise ConfigError(f"configuration file {path}: {key}: expected a value or a list, found keys")
    return [_text(value)]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)

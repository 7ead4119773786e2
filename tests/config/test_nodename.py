"""Names of nodes: from flags, from hosts, with ids."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wherry.config.errors import ConfigError
from wherry.config.nodename import LONGEST, node_id, node_name
from wherry.config.resolve import resolve
from wherry.config.settings import settings_from


@pytest.mark.parametrize("host", ["", "localhost", "LOCALHOST", "localhost.localdomain", "(none)"])
def test_promise_29_a_host_without_a_name_needs_one(host: str) -> None:
    with pytest.raises(ConfigError, match="give --node-name or WHERRY_NODE_NAME"):
        node_name("", host=host)
    assert node_name("given", host=host) == "given"


@pytest.mark.parametrize("variable", ["K3S_NODE_NAME", "WHERRY_NODE_NAME"])
def test_promise_29_the_environment_names_the_node(variable: str) -> None:
    values = resolve("agent", {"config": ["/dev/null"]}, {variable: "edge-1"})
    assert settings_from(values, host_name="localhost").node_name == "edge-1"


@pytest.mark.parametrize(
    ("given", "host", "name"),
    [
        ("", "Host-1", "host-1"),
        ("Edge", "localhost", "edge"),
        ("", "ip-10-0-0-1.ec2.internal", "ip-10-0-0-1.ec2.internal"),
        ("a" * LONGEST, "x", "a" * LONGEST),
    ],
)
def test_names_are_in_lower_case(given: str, host: str, name: str) -> None:
    assert node_name(given, host=host) == name


@pytest.mark.parametrize(
    ("given", "host", "said"),
    [
        ("", "my_host", "this host is called 'my_host', which is no DNS name .*: give --node-name"),
        ("", "-edge", "no DNS name .*: give --node-name"),
        ("", "a" * 64, "no DNS name .*: give --node-name"),
        ("", ".".join(["a" * 40] * 2), "too long to name a node: 81 characters, .* holds 63: give --node-name"),
        ("", ".".join(["a" * 63] * 4 + ["b"]), "no DNS name"),
        ("a..b", "x", "--node-name: 'a..b' is no DNS name"),
        ("edge.", "x", "--node-name: 'edge.' is no DNS name"),
    ],
)
def test_names_that_cannot_be_say_what_to_give(given: str, host: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        node_name(given, host=host)


def test_an_id_counts_for_the_length() -> None:
    assert node_name("a" * 54, host="", id_="0123abcd") == f"{'a' * 54}-0123abcd"
    with pytest.raises(ConfigError, match=r"64 characters with the id of --with-node-id.*give a shorter one"):
        node_name("a" * 55, host="", id_="0123abcd")


def test_the_id_of_a_machine_stays(tmp_path: Path) -> None:
    first = node_id(tmp_path / "data")
    assert re.fullmatch("[0-9a-f]{8}", first)
    assert node_id(tmp_path / "data") == first
    assert node_id(tmp_path / "other") != first
    values = resolve(
        "agent", {"config": ["/dev/null"], "with-node-id": ["true"], "data-dir": [str(tmp_path / "data")]}, {}
    )
    assert settings_from(values, host_name="edge").node_name == f"edge-{first}"


def test_an_id_that_cannot_be_kept_is_said(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent/node-id").write_text("mine")
    with pytest.raises(ConfigError, match="holds no id of eight hexadecimal digits"):
        node_id(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Not a directory; give a unique --node-name"):
        node_id(tmp_path / "file")

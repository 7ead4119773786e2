"""Names, folders and the record of a sandbox."""

from pathlib import Path

import pytest

from wherry.config.errors import ConfigError
from wherry.sandbox.layout import Layout, NodeEntry, Record, names, state_home
from wherry.sandbox.network import LAST_NODE, addresses


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a" * 41, "..", "a/b"])
def test_unusable_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="--name"):
        Layout(tmp_path, name)


def test_longest_name(tmp_path: Path) -> None:
    assert Layout(tmp_path, "a" * 40).directory == tmp_path / ("a" * 40)


def test_run_is_hidden_inside() -> None:
    with pytest.raises(ConfigError, match="/run"):
        Layout(Path("/run/user/1000"), "x")


def test_state_home() -> None:
    assert state_home({"XDG_STATE_HOME": "/s"}) == Path("/s/wherry")
    assert state_home({"XDG_STATE_HOME": "relative"}) == Path.home() / ".local/state/wherry"


def test_record_reads_back_and_damage_is_said(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "x")
    with pytest.raises(ConfigError, match=r"there is no sandbox 'x'.*wherry up --name x"):
        layout.load()
    layout.directory.mkdir()
    record = Record("x", {"node-label": ["a=b"]}, [NodeEntry("node-1", 1), NodeEntry("b", 7, running=False)], 6443)
    layout.save(record)
    assert layout.load() == record
    assert names(tmp_path) == ["x"]
    (layout.directory / "sandbox.json").write_text("{")
    with pytest.raises(ConfigError, match=r"damaged.*wherry down --name x"):
        layout.load()


def test_addresses_stay_on_the_lan() -> None:
    assert [str(a) for a in addresses(1)] == ["172.30.0.11", "fd00:30::b"]
    assert str(addresses(LAST_NODE)[0]) == "172.30.0.254"

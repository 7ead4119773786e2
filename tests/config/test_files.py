"""Configuration files, drop-ins and precedence (https://docs.k3s.io/installation/configuration)."""

from pathlib import Path

import pytest

from wherry.config.errors import ConfigError
from wherry.config.files import read_files
from wherry.config.resolve import file_arguments, resolve


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_documented_example_of_drop_ins(tmp_path: Path) -> None:
    main = write(tmp_path / "config.yaml", "token: boop\nnode-label: [foo=bar, bar=baz]\n")
    write(tmp_path / "config.yaml.d/test1.yaml", "write-kubeconfig-mode: 600\nnode-taint: ['alice=bob:NoExecute']\n")
    write(
        tmp_path / "config.yaml.d/test2.yaml",
        "write-kubeconfig-mode: 777\nnode-label: [other=what, foo=three]\nnode-taint+: ['charlie=delta:NoSchedule']\n",
    )
    write(tmp_path / "config.yaml.d/ignored.txt", "token: other")
    assert read_files(main, required=True) == {
        "token": ["boop"],
        "node-label": ["other=what", "foo=three"],
        "write-kubeconfig-mode": ["777"],
        "node-taint": ["alice=bob:NoExecute", "charlie=delta:NoSchedule"],
    }


def test_drop_ins_count_without_the_main_file(tmp_path: Path) -> None:
    write(tmp_path / "c.yaml.d/a.yml", "token: x")
    assert read_files(tmp_path / "c.yaml", required=False) == {"token": ["x"]}


@pytest.mark.parametrize("text", ["- a", "a: {b: 1}", "a: [{b: 1}]", "a: [1", "just text"])
def test_unusable_file_is_named(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "c.yaml", text)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        read_files(path, required=True)


def test_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        resolve("server", {"config": [str(tmp_path / "none.yaml")]}, {})


def test_precedence(tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", "node-name: file\nnode-label: [a=1, b=2]\ncluster-domain: file.local\nt: short\n")
    environment = {
        "K3S_NODE_NAME": "env",
        "K3S_CONFIG_FILE": str(path),
        "K3S_RESOLV_CONF": "/k",
        "WHERRY_RESOLV_CONF": "/w",
    }
    values = resolve("server", {"node-label": ["c=3"]}, environment)
    assert values["node-name"] == ["file"]
    assert values["node-label"] == ["c=3"]
    assert values["cluster-domain"] == ["file.local"]
    assert values["token"] == ["short"]
    assert values["resolv-conf"] == ["/w"]
    assert values["flannel-backend"] == ["vxlan"]


def test_unknown_keys_are_refused_but_an_agent_skips_the_servers(tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", "cluster-cidr: 10.0.0.0/16\n")
    assert "cluster-cidr" not in resolve("agent", {"config": [str(path)]}, {})
    write(path, "cluster-cird: 10.0.0.0/16\n")
    for command in ("server", "agent"):
        with pytest.raises(ConfigError, match="cluster-cird"):
            resolve(command, {"config": [str(path)]}, {})  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "on"), [("true", ["true"]), ("1", ["true"]), ("false", []), ("no", [])])
def test_switches(tmp_path: Path, text: str, on: list[str]) -> None:
    path = write(tmp_path / "c.yaml", f"debug: '{text}'")
    assert resolve("server", {"config": [str(path)]}, {})["debug"] == on


def test_what_is_not_there_yet_is_said() -> None:
    with pytest.raises(ConfigError, match="--multi-cluster-cidr"):
        resolve("server", {"multi-cluster-cidr": ["true"]}, {})
    for name, value in (("datastore-endpoint", "a.example"), ("egress-selector-mode", "pod")):
        with pytest.raises(ConfigError, match=f"--{name}"):
            resolve("server", {name: [value]}, {})
    assert resolve("server", {"egress-selector-mode": ["disabled"]}, {})["egress-selector-mode"] == ["disabled"]
    with pytest.raises(ConfigError, match="one value"):
        resolve("server", {"node-name": ["a", "b"]}, {})


def test_a_file_as_arguments(tmp_path: Path) -> None:
    main = write(tmp_path / "config.yaml", "t: boop\nnode-label: [foo=bar, bar=baz]\ncluster-cidr: 10.9.0.0/16\n")
    labels = ["--node-label=foo=bar", "--node-label=bar=baz"]
    given = {"config": [str(main)]}
    assert file_arguments("server", given, {}) == ["--token=boop", *labels, "--cluster-cidr=10.9.0.0/16"]
    assert file_arguments("agent", {}, {"K3S_CONFIG_FILE": str(main)}) == ["--token=boop", *labels]
    assert file_arguments("agent", {"config": ["/dev/null"]}, {}) == []

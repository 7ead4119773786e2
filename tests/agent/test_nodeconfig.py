"""What a node says of how it was started."""

from __future__ import annotations

import json

from wherry.agent.nodeconfig import ARGS, ENV, HASH, node_config


def test_it_is_what_k3s_makes_of_the_same() -> None:
    said = node_config("server", (), ["--no-flannel"], {"K3S_NODE_NAME": "fakeNode-with-no-annotation", "HOME": "/"})
    assert said == {
        ARGS: '["server","--no-flannel"]',
        ENV: '{"K3S_NODE_NAME":"fakeNode-with-no-annotation"}',
        HASH: "FBV4UQYLF2N7NH7EK42GKOTU5YA24TXB4WAYZHA5ZOFNGZHC4ZPA====",
    }


def test_secrets_are_masked_however_they_are_given() -> None:
    said = node_config(
        "agent",
        ["--token=a", "--node-label=x=y"],
        ["-t", "a", "-ta", "--datastore-endpoint", "a", "--server", "https://h:1/?a<b&c", "--token"],
        {"K3S_TOKEN": "a", "WHERRY_TOKEN": "a", "K3S_URL": "https://h", "WHERRY_SANDBOX": "x", "WHERRY_NODE_NAME": "n"},
    )
    assert json.loads(said[ARGS]) == [
        "agent", "--token", "********", "--node-label", "x=y", "-t", "********", "-t", "********",
        "--datastore-endpoint", "********", "--server", "https://h:1/?a<b&c", "--token",
    ]  # fmt: skip
    assert "\\u003cb\\u0026c" in said[ARGS]
    assert json.loads(said[ENV]) == {
        "K3S_TOKEN": "********", "K3S_URL": "https://h", "WHERRY_NODE_NAME": "n", "WHERRY_TOKEN": "********",
    }  # fmt: skip


def test_a_change_of_either_changes_the_hash() -> None:
    hashes = {
        node_config("server", file, args, env)[HASH]
        for file in ((), ("--debug=true",))
        for args in ((), ("--node-name=a",))
        for env in ({}, {"K3S_DEBUG": "true"})
    }
    assert len(hashes) == 8

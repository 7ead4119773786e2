"""Which resolv.conf a node goes by: K3s' rules."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from wherry.config.resolvconf import PUBLIC, choose, nameservers, relayed, unusable


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nameserver 192.0.2.1\nsearch example.com\n", ""),
        ("nameserver 10.0.0.1\nnameserver fd00::1\n", ""),
        ("nameserver 127.0.0.53\n", "127.0.0.53"),
        ("nameserver 192.0.2.1\nnameserver ::1\n", "::1"),
        ("nameserver fe80::1\n", "fe80::1"),
        ("nameserver 169.254.1.1\n", "169.254.1.1"),
        ("nameserver 224.0.0.251\n", "224.0.0.251"),
        ("nameserver 0.0.0.0\n", "0.0.0.0"),
        ("nameserver 255.255.255.255\n", "255.255.255.255"),
        ("nameserver resolver.example\n", "no address"),
        ("# nameserver 192.0.2.1\nsearch example.com\n", "no name server"),
        ("", "no name server"),
    ],
)
def test_servers_that_pods_cannot_reach_make_a_file_unusable(text: str, why: str) -> None:
    found = unusable(text)
    assert (why in found) if why else not found


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_first_usable_file_is_taken(tmp_path: Path) -> None:
    stub = write(tmp_path / "a", "nameserver 127.0.0.53\n")
    real = write(tmp_path / "b", "nameserver 192.0.2.1\n")
    fallback = tmp_path / "etc" / "resolv.conf"
    assert choose(None, fallback, candidates=(stub, real)) == (real, "")
    assert choose(None, fallback, candidates=(tmp_path / "absent", real)) == (real, "")
    assert not fallback.exists()


def test_without_a_usable_file_public_servers_are_asked_and_it_is_said(tmp_path: Path) -> None:
    stub = write(tmp_path / "a", "nameserver 127.0.0.53\n")
    path, warning = choose(None, tmp_path / "etc" / "resolv.conf", candidates=(stub, tmp_path / "absent"))
    assert nameservers(path.read_text()) == PUBLIC
    assert "127.0.0.53" in warning
    assert "--resolv-conf" in warning


def test_a_file_that_is_given_is_taken_and_what_is_wrong_with_it_is_said(tmp_path: Path) -> None:
    given = write(tmp_path / "a", "nameserver 127.0.0.1\n")
    path, warning = choose(given, tmp_path / "b", candidates=())
    assert path == given
    assert "127.0.0.1" in warning


def test_relayed_keeps_what_is_not_a_server() -> None:
    text = "search example.com lan\nnameserver 127.0.0.53\n\noptions edns0\n"
    assert relayed(text, [ip_address("172.30.0.1")]) == (
        "nameserver 172.30.0.1\nsearch example.com lan\noptions edns0\n"
    )

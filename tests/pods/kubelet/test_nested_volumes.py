"""Volumes that are mounted inside others: their places are there before a container could miss them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from wherry.kube.objects import Pod
from wherry.pods.volumes import atomic, nested
from wherry.pods.volumes.payload import File


def pod(*mounts: tuple[str, str], sub_path: str = "") -> Pod:
    written = [{"name": name, "mountPath": path, "subPath": sub_path} for name, path in mounts]
    container = {"name": "main", "image": "x", "volumeMounts": written}
    return msgspec.convert({"metadata": {"name": "p"}, "spec": {"containers": [container]}}, Pod)


@pytest.mark.parametrize(
    ("mounts", "places"),
    [
        ([("a", "/etc/coredns"), ("b", "/etc/coredns/custom")], ("custom",)),
        ([("b", "/etc/coredns/custom/"), ("a", "/etc/coredns/")], ("custom",)),
        ([("a", "/x"), ("b", "/x/deep/er"), ("c", "/x/deep/er/still")], ("deep/er",)),
        ([("a", "/x"), ("b", "/xy")], ()),
        ([("a", "/x/y"), ("b", "/x")], ()),
        ([("a", "/x"), ("b", "/x/../y")], ()),
    ],
)
def test_places(mounts: list[tuple[str, str]], places: tuple[str, ...]) -> None:
    assert nested.places(pod(*mounts), "a") == places


def test_a_part_of_a_volume_may_be_a_file_and_gets_no_place() -> None:
    assert nested.places(pod(("a", "/x"), ("b", "/x/y"), sub_path="key"), "a") == ()


def test_places_stay_when_the_volume_changes(tmp_path: Path) -> None:
    mounted = pod(("a", "/etc/coredns"), ("b", "/etc/coredns/custom"))
    for text in (b"1", b"2"):
        atomic.write(tmp_path / "a", {"Corefile": File(text)})
        nested.make(tmp_path / "a", mounted, "a")
    assert (tmp_path / "a" / "custom").is_dir()
    assert (tmp_path / "a" / "Corefile").read_bytes() == b"2"

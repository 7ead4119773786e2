import pytest

from wherry.pods.runtime.testing import FakeTree, debian
from wherry.pods.runtime.view import DiskTree, LinkLoop, resolve, shadows, within

HOST = debian()


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("/data", "/data"),
        ("/etc//x/../config/", "/etc/config"),
        ("/bin/tool", "/usr/bin/tool"),
        ("/var/run/secrets/kubernetes.io/serviceaccount", "/run/secrets/kubernetes.io/serviceaccount"),
        ("/etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf"),
        ("/../../etc", "/etc"),
        ("relative", "/relative"),
    ],
)
def test_paths_lead_where_the_container_would_see_them(path, resolved):
    assert resolve(path, HOST) == resolved


def test_links_of_the_host_below_a_mount_do_not_count():
    assert resolve("/var/run/x", HOST, made=["/var"]) == "/var/run/x"


def test_a_loop_is_an_error():
    with pytest.raises(LinkLoop):
        resolve("/loop/x", FakeTree({"/loop": "loop"}))


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["/data", "/data/deep/er"], []),
        (["/etc/config"], ["/etc"]),
        (["/etc/hostname", "/usr/share"], []),
        (["/usr/share/nginx/html"], ["/usr/share"]),
        (["/etc/nginx/conf.d/a.conf", "/etc/extra", "/usr/share/x"], ["/etc", "/etc/nginx", "/usr/share"]),
        (["/run/secrets/x", "/tmp/y", "/dev/termination-log"], []),
    ],
)
def test_directories_that_need_room_for_a_mount(targets, expected):
    assert sorted(shadows(targets, HOST)) == sorted(expected)


def test_parents_come_first():
    found = shadows(["/etc/nginx/conf.d/x", "/etc/y"], HOST)
    assert found == ["/etc", "/etc/nginx"]


def test_within():
    assert within("/a/b", "/a")
    assert within("/a", "/a")
    assert within("/a", "/")
    assert not within("/ab", "/a")


def test_a_tree_on_disk(tmp_path):
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "file").write_text("")
    (tmp_path / "link").symlink_to("dir")
    tree = DiskTree(str(tmp_path) + "/")
    assert tree.entries("/") == ["dir", "link"]
    assert [tree.kind(path) for path in ("/dir", "/link", "/dir/file", "/none", "/dir/file/x")] == [
        "directory",
        "link",
        "file",
        None,
        None,
    ]
    assert tree.target("/link") == "dir"

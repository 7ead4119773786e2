import pytest

from wherry.pods.model import ContainerSpec, Mount, Security, User
from wherry.pods.runtime.bubblewrap import DEFAULT_CAPABILITIES, build, capabilities, identity
from wherry.pods.runtime.programs import Programs
from wherry.pods.runtime.testing import FakeTree, debian

PROGRAMS = Programs(bwrap="/usr/bin/bwrap", setpriv="/usr/bin/setpriv", hidden=("/usr/share", "/run/x", "/none"))


def command(*, mounts=(), all_ids=True, follow_parent=False, tree=None, pid_namespace=None, **spec):
    base = {"id": "c", "pod_uid": "u", "namespace": "n", "pod": "p", "name": "c", "image": "i", "node": "n"}
    return build(
        ContainerSpec(**base, log_path="/l", **spec),
        ("prog", "arg"),
        programs=PROGRAMS,
        tree=tree or debian(),
        mounts=mounts,
        all_ids=all_ids,
        follow_parent=follow_parent,
        pid_namespace=pid_namespace,
    )


def triples(options, flag):
    return [tuple(options[at + 1 : at + 3]) for at, word in enumerate(options) if word == flag]


def test_the_hosts_root_is_read_only_and_private_places_are_new():
    options = command().options
    assert triples(options, "--ro-bind-try") == [("/etc", "/etc"), ("/usr", "/usr"), ("/var", "/var"), ("/sys", "/sys")]
    assert ("usr/bin", "/bin") in triples(options, "--symlink")
    tmpfs = [first for first, _ in triples(options, "--tmpfs")]
    assert tmpfs == ["/tmp", "/run", "/usr/share"]
    assert not {"--bind", "--dev-bind"} & set(options)
    assert {"--unshare-pid", "--unshare-ipc", "--unshare-uts", "--as-pid-1", "--new-session"} <= set(options)


def test_a_program_leads_the_session_of_its_terminal_itself():
    found = command(tty=True)
    assert found.argv[:3] == ("/usr/bin/setsid", "-c", "prog")
    assert "--new-session" not in found.options
    assert command(tty=True, follow_parent=True).argv[0] == "prog"


@pytest.mark.parametrize(
    ("tree", "leader"),
    [
        ({"/bin": None, "/bin/setsid": ""}, "/bin/setsid"),
        (
            {"/usr": None, "/usr/bin": None, "/usr/bin/setsid": "/bin/busybox", "/bin": None, "/bin/busybox": ""},
            "/usr/bin/setsid",
        ),
        ({"/bin": None}, ""),
    ],
)
def test_an_image_brings_what_a_terminal_needs_or_goes_without(tree, leader):
    found = command(tty=True, rootfs="/images/x", tree=FakeTree(tree))
    assert found.argv[0] == (leader or "prog")
    assert ("--new-session" in found.options) is not bool(leader)
    assert bool(found.notes) is not bool(leader)


def test_mounts_come_in_the_order_of_their_depth_and_after_the_root():
    options = command(
        mounts=(
            Mount("/v/deep", "/data/deep"),
            Mount("/v/data", "/data", read_only=True),
            Mount("/v/token", "/var/run/secrets/token", read_only=True),
        )
    ).options
    assert triples(options, "--ro-bind") == [("/v/data", "/data"), ("/v/token", "/run/secrets/token")]
    assert options.index("/v/data") < options.index("/v/deep")
    assert options.index("/run") < options.index("/v/token")


def test_a_mount_into_the_hosts_directories_shadows_one_of_them():
    options = command(mounts=(Mount("/v/c", "/etc/config"),)).options
    assert ("/etc", "/etc") not in triples(options, "--ro-bind-try")
    assert ("/etc/nginx", "/etc/nginx") in triples(options, "--ro-bind-try")
    assert ("../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf") in triples(options, "--symlink")
    assert triples(options, "--bind") == [("/v/c", "/etc/config")]


def test_a_resolv_conf_that_is_a_link_is_mounted_where_it_leads():
    options = command(mounts=(Mount("/v/r", "/etc/resolv.conf"),)).options
    assert triples(options, "--bind") == [("/v/r", "/run/systemd/resolve/stub-resolv.conf")]


@pytest.mark.parametrize(
    ("cwd", "made"),
    [
        ("", []),
        ("/etc", []),
        ("/app/x", ["/app/x"]),
        ("/usr/share/app", ["/usr/share/app"]),
        ("/data/sub", []),
        ("/tmp/x", []),
    ],
)
def test_the_working_directory_is_made_when_it_is_nobodys(cwd, made):
    options = command(cwd=cwd, mounts=(Mount("/v", "/data"),)).options
    assert [first for first, _ in triples(options, "--dir")] == made
    assert options[options.index("--chdir") + 1] == (cwd or "/")


def test_an_image_with_its_own_root_hides_the_host():
    options = command(rootfs="/images/x/").options
    assert ("/images/x/etc", "/etc") in triples(options, "--ro-bind-try")
    assert ("/etc", "/etc") not in triples(options, "--ro-bind-try")


def test_a_read_only_root_stays_writable_only_in_its_mounts():
    options = command(security=Security(read_only_root=True), mounts=(Mount("/v", "/etc/x"),)).options
    assert [first for first, _ in triples(options, "--remount-ro")] == ["/", "/etc", "/tmp", "/run"]
    options = command(security=Security(read_only_root=True), mounts=(Mount("/v", "/tmp"),)).options
    assert [first for first, _ in triples(options, "--remount-ro")] == ["/", "/run"]


def added(options):
    return {options[at + 1] for at, word in enumerate(options) if word == "--cap-add"}


def test_default_capabilities():
    options = command().options
    assert options[options.index("--cap-drop") + 1] == "ALL"
    assert added(options) == {f"CAP_{name}" for name in DEFAULT_CAPABILITIES}


@pytest.mark.parametrize(
    ("security", "expected"),
    [
        (Security(drop_capabilities=("ALL",)), set()),
        (Security(drop_capabilities=("ALL",), add_capabilities=("NET_ADMIN",)), {"NET_ADMIN"}),
        (Security(drop_capabilities=("CAP_net_raw",)), DEFAULT_CAPABILITIES - {"NET_RAW"}),
        (Security(add_capabilities=("ALL",)), None),
        (Security(privileged=True, drop_capabilities=("ALL",)), None),
    ],
)
def test_capabilities_follow_the_security_context(security, expected):
    assert capabilities(security) == expected


def test_a_privileged_container_sees_the_devices_and_keeps_everything():
    options = command(security=Security(privileged=True)).options
    assert ("/dev", "/dev") in triples(options, "--dev-bind")
    assert "--cap-drop" not in options


def test_another_user_where_ids_are_real():
    made = command(security=Security(run_as_user=1000, run_as_group=2000, groups=(5, 6), drop_capabilities=("ALL",)))
    assert made.argv == (
        "/usr/bin/setpriv",
        "--reuid=1000",
        "--regid=2000",
        "--groups=5,6",
        "--inh-caps=-all",
        "--bounding-set=-all",
        "--",
        "prog",
        "arg",
    )
    assert added(made.options) == {"CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"}
    assert made.notes == ()


@pytest.mark.parametrize("spec", [{"all_ids": False}, {"rootfs": "/images/x"}])
def test_another_user_in_name_where_they_are_not(spec):
    made = command(security=Security(run_as_user=1000, groups=(5,)), **spec)
    assert made.argv == ("prog", "arg")
    assert made.options[-5:] == ("--unshare-user", "--uid", "1000", "--gid", "0")
    assert len(made.notes) == 2
    assert "user 1000" in made.notes[0]


def test_only_users_that_are_real_share_processes():
    shared = command(pid_namespace=9, security=Security(run_as_user=7))
    assert ("9",) in [shared.options[at + 1 : at + 2] for at, word in enumerate(shared.options) if word == "--pidns"]
    assert "--unshare-pid" not in shared.options
    alone = command(pid_namespace=9, security=Security(run_as_user=7), all_ids=False)
    assert "--pidns" not in alone.options
    assert {"--unshare-pid", "--as-pid-1"} <= set(alone.options)
    assert "does not see the processes" in alone.notes[-1]


@pytest.mark.parametrize(
    ("security", "rootfs", "all_ids", "expected"),
    [
        (Security(), None, True, User(0, 0, (0,))),
        (Security(run_as_user=7, run_as_group=9, groups=(5, 9)), None, True, User(7, 9, (5, 9))),
        (Security(run_as_user=7, groups=(5,)), None, False, User(7, 0, (0,))),
        (Security(run_as_user=7, groups=(5,)), "/images/x", True, User(7, 0, (0,))),
    ],
)
def test_the_user_that_is_told(security, rootfs, all_ids, expected):
    spec = ContainerSpec("c", "u", "n", "p", "c", "i", "n", "/l", security=security, rootfs=rootfs)
    assert identity(spec, all_ids=all_ids) == expected


def test_a_command_beside_a_stand_in_ends_with_its_caller():
    options = command(follow_parent=True).options
    assert "--die-with-parent" in options
    assert "--new-session" not in options


def test_sharing_the_hosts_processes():
    assert "--unshare-pid" not in command(host_pid=True).options
    assert "--unshare-ipc" not in command(host_ipc=True).options

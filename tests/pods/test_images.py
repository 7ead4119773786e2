import pytest

from wherry.pods.images import decide, spellings, stand_in_ports
from wherry.pods.imagetable import ImageTableError, check_table, load_table, parse_table
from wherry.pods.model import Mount, Port


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("nginx", {"nginx", "nginx:latest", "docker.io/library/nginx", "docker.io/library/nginx:latest"}),
        ("nginx:1.27", {"nginx", "nginx:1.27", "docker.io/library/nginx", "docker.io/library/nginx:1.27"}),
        (
            "docker.io/library/nginx",
            {"nginx", "nginx:latest", "docker.io/library/nginx", "docker.io/library/nginx:latest"},
        ),
        ("acme/api:2", {"acme/api", "acme/api:2", "docker.io/acme/api", "docker.io/acme/api:2"}),
        ("docker.io/acme/api:2", {"acme/api", "acme/api:2", "docker.io/acme/api", "docker.io/acme/api:2"}),
        ("localhost:5000/api", {"localhost:5000/api", "localhost:5000/api:latest"}),
        ("ghcr.io/a/b:1@sha256:ff", {"ghcr.io/a/b:1@sha256:ff", "ghcr.io/a/b", "ghcr.io/a/b@sha256:ff"}),
    ],
)
def test_an_image_can_be_named_in_every_usual_spelling(image, expected):
    assert set(spellings(image)) == expected


TABLE = parse_table(
    [
        {
            "match": "shop/api",
            "entrypoint": ["/srv/api"],
            "cmd": ["--port", "80"],
            "env": {"MODE": "test"},
            "binds": [{"source": "/home/me/api", "target": "/srv"}],
        },
        {"match": "*/shop/*", "entrypoint": ["other"], "rootfs": "/images/shop"},
        {"match": "bare"},
    ],
    where="t",
)


@pytest.mark.parametrize(
    ("command", "args", "argv"),
    [
        ([], [], ("/srv/api", "--port", "80")),
        ([], ["--port", "81"], ("/srv/api", "--port", "81")),
        (["sh"], [], ("sh",)),
        (["sh"], ["-c", "x"], ("sh", "-c", "x")),
    ],
)
def test_command_and_args_override_entrypoint_and_cmd_as_kubernetes_says(command, args, argv):
    decision = decide("shop/api:3", command=command, args=args, table=TABLE)
    assert decision.argv == argv
    assert decision.env == {"MODE": "test"}
    assert decision.mounts == (Mount(source="/home/me/api", target="/srv", read_only=True),)


def test_the_first_entry_that_matches_wins_and_globs_see_the_full_name():
    assert decide("shop/web", command=[], args=[], table=TABLE).rootfs == "/images/shop"
    assert decide("shop/api", command=[], args=[], table=TABLE).rootfs is None


def test_an_entry_without_a_program_is_an_error_unless_the_container_brings_one():
    assert "no entrypoint" in decide("bare", command=[], args=[], table=TABLE).error
    assert decide("bare", command=["x"], args=[], table=TABLE).argv == ("x",)


@pytest.mark.parametrize(
    ("image", "command", "args", "argv"),
    [
        ("busybox:1.36", [], [], ("sh",)),
        ("registry.k8s.io/e2e-test-images/busybox:1.29", ["sleep"], ["9"], ("sleep", "9")),
        ("alpine", [], ["ls"], ("ls",)),
        ("ubuntu:24.04", [], [], ("bash",)),
        ("mirror.gcr.io/library/debian", [], [], ("bash",)),
        ("nicolaka/netshoot", [], ["ping", "x"], ("ping", "x")),
        ("python:3.12-slim", [], [], ("python3",)),
        ("python:3.12", ["python"], ["-m", "http.server"], ("python3", "-m", "http.server")),
        ("curlimages/curl", ["curl"], ["http://web"], ("curl", "http://web")),
    ],
)
def test_bare_userlands_run_programs_of_the_host(image, command, args, argv):
    assert decide(image, command=command, args=args, table=()).argv == argv


def test_arguments_of_a_curl_image_go_through_its_entry_point():
    argv = decide("curlimages/curl", command=[], args=["-s", "http://web"], table=()).argv
    assert argv is not None
    assert argv[-2:] == ("-s", "http://web")
    assert 'set -- curl "$@"' in argv[2]


@pytest.mark.parametrize("image", ["acme/web:1", "nginx", "acme/python", "debian-tools", "redis:7", "traefik/whoami"])
def test_everything_else_is_stood_in_for(image):
    decision = decide(image, command=["/app"], args=["-v"], table=())
    assert (decision.argv, decision.error) == (None, "")
    assert decision.wanted_argv == ("/app", "-v")


def test_pause_answers_nothing():
    decision = decide("registry.k8s.io/pause:3.10", command=[], args=[], table=())
    assert decision.argv is None
    assert stand_in_ports(decision, [(80, "TCP")], [81]) == ()


@pytest.mark.parametrize(
    "image",
    [
        "rancher/klipper-helm:v0.9.3",
        "rancher/mirrored-library-traefik:3",
        "wherry/dns",
    ],
)
def test_packaged_components_are_refused_in_one_line(image):
    error = decide(image, command=[], args=[], table=()).error
    assert image in error
    assert "not there yet" in error
    assert "\n" not in error


def test_a_stand_in_listens_on_declared_and_probed_ports_once():
    ports = stand_in_ports(
        decide("x/y", command=[], args=[], table=()), [(80, ""), (53, "UDP"), (53, "TCP"), (80, "TCP")], [80, 9090]
    )
    assert ports == (Port(80), Port(53, "UDP"), Port(53), Port(9090, optional=True))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("match: x", ":1: the image table must be a list"),
        ("- {match: x, entrypont: [a]}", ":1: entry 1 (x): entrypont: no such field; an entry has match, "),
        ("- match: x\n- entrypoint: [a]", ":2: entry 2: it lacks the required field `match`"),
        ("- match: x\n  rootfs: images/x", ":2: entry 1 (x): rootfs: 'images/x' is not an absolute path"),
        ("- match: x\n  entrypoint: sleep", ":2: entry 1 (x): entrypoint: a list is expected, not text"),
        ("- match: x\n  env: {A: 1}", ":2: entry 1 (x): env: text is expected, not a number: put it in quotes"),
        ("- match: x\n  binds:\n  - {source: /, to: /}", ":3: entry 1 (x): binds[0].to: no such field; a bind has"),
        ("- {match: x, user: root}", "user: 'root' is not a number: give uid or uid:gid"),
        ("- {match: x, rootfs: /}", "leave rootfs out"),
        ("- {match: ''}", "match: it is empty"),
        ("- [", "line"),
        ("- {match: x}\n---\n- {match: y}", "one YAML document"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(tmp_path, text, says):
    path = tmp_path / "images.yaml"
    path.write_text(text)
    with pytest.raises(ImageTableError) as caught:
        load_table(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_empty_or_missing_table(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    assert load_table(tmp_path / "empty.yaml") == ()
    with pytest.raises(ImageTableError, match=r"No such file"):
        load_table(tmp_path / "none.yaml")


def test_trees_and_binds_must_be_there_for_who_hands_in_the_table(tmp_path):
    path = tmp_path / "images.yaml"
    path.write_text(f"- match: x\n  binds:\n  - source: {tmp_path}\n    target: /a\n- match: z\n  rootfs: /none/such\n")
    assert len(load_table(path)) == 2
    with pytest.raises(ImageTableError, match=r":6: entry 2 \(z\): rootfs: /none/such is not a directory: unpack"):
        check_table(path)
    path.write_text("- match: x\n  binds:\n  - source: /none/such\n    target: /a\n")
    with pytest.raises(ImageTableError, match=r":3: entry 1 \(x\): binds\[0\]\.source: /none/such does not exist"):
        check_table(path)


def test_user_and_working_directory_come_from_the_entry():
    table = parse_table([{"match": "x", "entrypoint": ["a"], "user": "7:8", "cwd": "/srv"}], where="t")
    decision = decide("x", command=[], args=[], table=table)
    assert (decision.user, decision.group, decision.cwd) == (7, 8, "/srv")


def test_a_pod_may_ask_for_a_stand_in_or_a_process():
    assert decide("busybox", command=["a"], args=["b"], table=(), run="stand-in").wanted_argv == ("a", "b")
    assert decide("shop/api", command=[], args=[], table=TABLE, run="stand-in").argv is None
    assert decide("nginx", command=["nc", "-l"], args=["80"], table=(), run="process").argv == ("nc", "-l", "80")
    assert decide("shop/api", command=[], args=[], table=TABLE, run="process").argv == ("/srv/api", "--port", "80")
    error = decide("nginx", command=[], args=["-v"], table=(), run="process").error
    assert "no program is known for image nginx: give the container a command" in error


def test_images_with_a_server_of_their_own_are_programs_only_when_told_what_to_run():
    assert decide("wbitt/network-multitool", command=[], args=[], table=()).argv is None
    assert decide("wbitt/network-multitool", command=["ping"], args=["x"], table=()).argv == ("ping", "x")

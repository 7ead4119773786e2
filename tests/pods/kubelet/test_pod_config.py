"""What containers get to see: variables, arguments, files, names."""

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.kube.kinds import CONFIG_MAPS, PODS
from wherry.kube.objects import ConfigMap, Container, OwnerReference, Pod, Secret, Service, Volume
from wherry.pods.containers import container_spec
from wherry.pods.dns import ClusterDns, NameTooLong, fitted, pod_dns, pod_names, read_resolv_conf
from wherry.pods.env import ConfigError, environment
from wherry.pods.envfile import EnvFileError, parse
from wherry.pods.expand import expand
from wherry.pods.fields import NodeFacts, format_map
from wherry.pods.model import Behaviour
from wherry.pods.sandbox.model import Dns, Sandbox
from wherry.pods.sources import Reference, Sources, pod_references
from wherry.pods.testing.node import Node, container
from wherry.pods.testing.node import pod as pod_json
from wherry.pods.volumes import atomic, hostpath
from wherry.pods.volumes.payload import File, MountError, payload, token_projections

FACTS = NodeFacts(
    host_ips=("172.30.0.11",), pod_ips=("10.42.0.2", "fd00::2"), allocatable={"cpu": "4", "memory": "8Gi"}
)
SOURCES = Sources(
    config_maps={"settings": ConfigMap(data={"colour": "green", "SIZE": "10"}, binary_data={"blob": b"\xff"})},
    secrets={"keys": Secret(data={"password": b"s3cret", "raw": b"\xff"})},
)


def pod(*containers: dict[str, Any], **spec: Any) -> Pod:
    found = pod_json(containers=list(containers) or None, **spec)
    found["metadata"] |= {"uid": "u-1", "annotations": {"note": 'say "hi"\n'}}
    return msgspec.convert(found, Pod)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$(A)", "1"),
        ("$(A)$(B)", "12"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("a$", "a$"),
        ("$", "$"),
        ("$()", "$()"),
        ("x$(A)-$(B", "x1-$(B"),
        ("$($(A))", "$($(A))"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}.get) == expected


@given(st.text(alphabet="$()AB "))
def test_doubling_every_dollar_protects_any_text(text: str) -> None:
    assert expand(text.replace("$", "$$"), {"A": "1", "B": "2"}.get) == text


def env(*variables: dict[str, Any], **fields: Any) -> dict[str, str]:
    subject = pod(container(env=list(variables), **fields))
    services = fields.pop("services", ())
    assert subject.spec.containers
    return environment(subject, subject.spec.containers[0], sources=SOURCES, services=services, facts=FACTS)


def from_(kind: str, **fields: Any) -> dict[str, Any]:
    return {"name": "X", "valueFrom": {kind: fields}}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (from_("fieldRef", fieldPath="metadata.name"), "web"),
        (from_("fieldRef", fieldPath="metadata.labels['app']"), "web"),
        (from_("fieldRef", fieldPath="metadata.labels['none']"), ""),
        (from_("fieldRef", fieldPath="spec.nodeName"), "node-1"),
        (from_("fieldRef", fieldPath="status.podIP"), "10.42.0.2"),
        (from_("fieldRef", fieldPath="status.podIPs"), "10.42.0.2,fd00::2"),
        (from_("fieldRef", fieldPath="status.hostIP"), "172.30.0.11"),
        (from_("configMapKeyRef", name="settings", key="colour"), "green"),
        (from_("secretKeyRef", name="keys", key="password"), "s3cret"),
        (from_("resourceFieldRef", resource="limits.cpu"), "1"),
        (from_("resourceFieldRef", resource="limits.cpu", divisor="1m"), "250"),
        (from_("resourceFieldRef", resource="requests.memory", divisor="1Mi"), "65"),
        (from_("resourceFieldRef", resource="limits.memory", divisor="1Gi"), "8"),
    ],
)
def test_variables_from_elsewhere(variable: dict[str, Any], value: str) -> None:
    resources = {"limits": {"cpu": "250m"}, "requests": {"memory": "64.5Mi"}}
    assert env(variable, resources=resources)["X"] == value


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        (from_("configMapKeyRef", name="none", key="k"), 'configmap "none" not found'),
        (from_("configMapKeyRef", name="settings", key="k"), "couldn't find key k in ConfigMap default/settings"),
        (from_("secretKeyRef", name="keys", key="k"), "couldn't find key k in Secret default/keys"),
        (from_("secretKeyRef", name="keys", key="raw"), "key raw of Secret default/keys is not UTF-8 text"),
        (from_("fieldRef", fieldPath="status.phase"), "unsupported fieldPath: status.phase"),
        (from_("resourceFieldRef", resource="limits.gpu"), "unsupported container resource : limits.gpu"),
        (from_("laterRef", path="x"), "names no source this version knows"),
    ],
)
def test_what_is_missing_is_named(variable: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        env(variable)


def test_optional_sources_may_be_missing() -> None:
    assert "X" not in env(from_("configMapKeyRef", name="none", key="k", optional=True))
    assert "X" not in env(from_("secretKeyRef", name="keys", key="k", optional=True))
    assert env(envFrom=[{"configMapRef": {"name": "none", "optional": True}}]) == {}
    with pytest.raises(ConfigError, match='secret "none" not found'):
        env(envFrom=[{"secretRef": {"name": "none"}}])


def test_later_variables_win_and_refer_to_earlier_ones() -> None:
    found = env(
        {"name": "SIZE", "value": "20"},
        {"name": "TEXT", "value": "$(P_colour) $(SIZE) $(LATER) $$(SIZE)"},
        {"name": "LATER", "value": "x"},
        envFrom=[{"configMapRef": {"name": "settings"}}, {"prefix": "P_", "configMapRef": {"name": "settings"}}],
    )
    assert found["TEXT"] == "green 20 $(LATER) $(SIZE)"
    assert found["SIZE"] == "20"
    assert found["P_SIZE"] == "10"


def service(name: str, namespace: str, address: str, *ports: dict[str, Any]) -> Service:
    spec = {"clusterIP": address, "ports": list(ports)}
    return msgspec.convert({"metadata": {"name": name, "namespace": namespace}, "spec": spec}, Service)


SERVICES = (
    service("kubernetes", "default", "10.43.0.1", {"port": 443, "name": "https"}),
    service("my-db", "shop", "fd00::5", {"port": 5432}, {"port": 53, "protocol": "UDP", "name": "dns-udp"}),
    service("headless", "shop", "None", {"port": 80}),
    service("elsewhere", "other", "10.43.0.9", {"port": 80}),
)


def test_service_variables() -> None:
    subject = msgspec.convert({"metadata": {"name": "web", "namespace": "shop"}}, Pod)
    found = environment(subject, Container(name="web"), sources=Sources(), services=SERVICES, facts=FACTS)
    assert found == {
        "KUBERNETES_SERVICE_HOST": "10.43.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
        "KUBERNETES_SERVICE_PORT_HTTPS": "443",
        "KUBERNETES_PORT": "tcp://10.43.0.1:443",
        "KUBERNETES_PORT_443_TCP": "tcp://10.43.0.1:443",
        "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
        "KUBERNETES_PORT_443_TCP_PORT": "443",
        "KUBERNETES_PORT_443_TCP_ADDR": "10.43.0.1",
        "MY_DB_SERVICE_HOST": "fd00::5",
        "MY_DB_SERVICE_PORT": "5432",
        "MY_DB_SERVICE_PORT_DNS_UDP": "53",
        "MY_DB_PORT": "tcp://[fd00::5]:5432",
        "MY_DB_PORT_5432_TCP": "tcp://[fd00::5]:5432",
        "MY_DB_PORT_5432_TCP_PROTO": "tcp",
        "MY_DB_PORT_5432_TCP_PORT": "5432",
        "MY_DB_PORT_5432_TCP_ADDR": "fd00::5",
        "MY_DB_PORT_53_UDP": "udp://[fd00::5]:53",
        "MY_DB_PORT_53_UDP_PROTO": "udp",
        "MY_DB_PORT_53_UDP_PORT": "53",
        "MY_DB_PORT_53_UDP_ADDR": "fd00::5",
    }
    unlinked = msgspec.convert({"metadata": {"namespace": "shop"}, "spec": {"enableServiceLinks": False}}, Pod)
    found = environment(unlinked, Container(name="web"), sources=Sources(), services=SERVICES, facts=FACTS)
    assert {name.partition("_")[0] for name in found} == {"KUBERNETES"}


def test_variables_from_a_file() -> None:
    text = "# made by init\n\n  A = 'one # no comment'\nB='two\nlines'\nA='last'"
    assert parse(text) == {"A": "last", "B": "two\nlines"}
    with pytest.raises(EnvFileError, match="line 2 is not of the form"):
        parse("A='1'\nB=2\n")

    def found(key: str, *, path: str = "f", optional: bool = False) -> dict[str, str]:
        ref = {"volumeName": "v", "path": path, "key": key, "optional": optional}
        subject = pod(container(env=[from_("fileKeyRef", **ref)]), enableServiceLinks=False)
        assert subject.spec.containers
        read = {("v", "f"): text, ("v", "bad"): "x"}
        return environment(
            subject, subject.spec.containers[0], sources=SOURCES, services=(), facts=FACTS,
            read_file=lambda volume, file: read.get((volume, file)),
        )  # fmt: skip

    assert found("A") == {"X": "last"}
    assert found("C", optional=True) == found("A", path="none", optional=True) == {}
    for key, path, says in (("C", "f", 'key "C" not found in file "f"'), ("A", "none", "does not exist"),
                            ("A", "bad", "line 1")):  # fmt: skip
        with pytest.raises(ConfigError, match=says):
            found(key, path=path)


# -- what is started --------------------------------------------------------------------------------------------------


def start(subject: Pod, **changes: Any) -> Any:
    assert subject.spec.containers
    given_: dict[str, Any] = {
        "node": "node-1",
        "table": (),
        "variables": {"NAME": "web"},
        "sandbox": Sandbox(uid="u-1", namespace="default", name="web", hostname="web", netns="/run/netns/u-1"),
        "volumes": {"data": Path("/volumes/data")},
        "log_path": Path("/logs/0.log"),
        "termination_file": Path("/volumes/t"),
        "behaviour": lambda _container, _ports: Behaviour(),
    }
    chosen = changes.pop("container", subject.spec.containers[0])
    return container_spec(subject, chosen, 0, **(given_ | changes))


def test_a_stand_in_listens_on_declared_and_probed_ports() -> None:
    spec = start(
        pod(
            container(
                ports=[{"containerPort": 80, "name": "http"}, {"containerPort": 53, "protocol": "UDP"}],
                readinessProbe={"httpGet": {"port": "http"}},
                livenessProbe={"tcpSocket": {"port": 9000}},
                lifecycle={"preStop": {"httpGet": {"port": 9001}}},
                startupProbe={"httpGet": {"port": "unknown"}},
            )
        )
    )
    assert spec.argv is None
    assert [(port.number, port.protocol, port.optional) for port in spec.ports] == [
        (80, "TCP", False),
        (53, "UDP", False),
        (9000, "TCP", True),
        (9001, "TCP", True),
    ]


@pytest.mark.parametrize(
    ("change", "ends"),
    [
        ({}, True),
        ({"restartPolicy": "Always"}, False),
        ({"image": "pause:3.9"}, False),
        ({"image": "busybox:1"}, False),
    ],
)
def test_what_stands_in_for_an_init_container_ends(change: dict[str, Any], ends: bool) -> None:
    first = container("first") | {"image": "migrate:1"} | change
    subject = pod(container("web"), initContainers=[first])
    assert start(subject, container=subject.spec.init_containers[0]).ends is ends
    assert start(subject).ends is False


@pytest.mark.parametrize(("kind", "change", "ends"), [
    ("Job", {}, True),
    ("Job", {"ports": [{"containerPort": 80}]}, False),
    ("Job", {"image": "busybox:1", "command": ["true"]}, False),
    ("ReplicaSet", {}, False),
])  # fmt: skip
def test_what_stands_in_for_the_work_of_a_job_ends(kind: str, change: dict[str, Any], ends: bool) -> None:
    subject = pod(container("main", image="migrate:1", ports=[]) | change)
    owner = OwnerReference(api_version="v1", kind=kind, name="owner", uid="u", controller=True)
    owned = msgspec.structs.replace(subject.metadata, owner_references=(owner,))
    assert start(msgspec.structs.replace(subject, metadata=owned)).ends is ends


def test_a_program_gets_its_arguments_mounts_and_user() -> None:
    spec = start(
        pod(
            container(
                image="busybox",
                command=["sh", "-c"],
                args=["echo $(NAME) $(NONE)"],
                volumeMounts=[{"name": "data", "mountPath": "/data", "subPathExpr": "$(NAME)/x", "readOnly": True}],
                securityContext={"runAsUser": 5, "capabilities": {"drop": ["ALL"]}},
            ),
            securityContext={"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3},
        )
    )
    assert spec.argv == ("sh", "-c", "echo web $(NONE)")
    assert spec.env == {"HOSTNAME": "web", "NAME": "web"}
    mount = spec.mounts[-1]
    assert (mount.source, mount.target, mount.sub_path, mount.read_only) == ("/volumes/data", "/data", "web/x", True)
    assert (spec.security.run_as_user, spec.security.run_as_group, spec.security.groups) == (5, 2, (3,))
    assert spec.security.drop_capabilities == ("ALL",)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"volumeMounts": [{"name": "none", "mountPath": "/x"}]}, 'volume "none"'),
        ({"volumeMounts": [{"name": "data", "mountPath": "/x", "subPath": "../.."}]}, "must not contain '..'"),
        ({"volumeMounts": [{"name": "data", "mountPath": "/x", "subPathExpr": "$(NONE)"}]}, "^missing value for NONE$"),
        ({"volumeMounts": [{"name": "data", "mountPath": "/x", "subPath": "/a"}]}, "not be an absolute path"),
        ({"securityContext": {"runAsUser": 0, "runAsNonRoot": True}}, "^container's runAsUser breaks non-root policy"),
        (
            {"securityContext": {"runAsNonRoot": True}, "image": "busybox"},
            r'^container has runAsNonRoot and image will run as root \(pod: "web_default\(.*\)", container: web\)$',
        ),
        ({"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}}}, '"a.json"'),
    ],
)
def test_what_cannot_be_configured_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        start(pod(container(**fields)))


def test_what_is_asked_for_in_vain_is_said() -> None:
    asked = container(
        image="busybox",
        volumeMounts=[{"name": "data", "mountPath": "/x", "mountPropagation": "HostToContainer"}],
    )
    spec = start(pod(asked, shareProcessNamespace=True, hostUsers=False, hostIPC=True))
    assert [note.partition(" ")[0] for note in spec.notes] == [
        "hostUsers:",
        "mountPropagation",
    ]
    assert spec.host_ipc
    assert start(pod(container(image="busybox"))).notes == ()


def test_a_stand_in_is_nobody_and_may_be_anybody() -> None:
    assert start(pod(container(securityContext={"runAsNonRoot": True}))).security.run_as_user is None


def test_what_comes_from_objects_is_read_only() -> None:
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("data", "c", "p")]
    subject = pod(
        container(image="busybox", volumeMounts=mounts),
        volumes=[
            {"name": "data", "emptyDir": {}},
            {"name": "c", "configMap": {"name": "settings"}},
            {"name": "p", "persistentVolumeClaim": {"claimName": "p", "readOnly": True}},
        ],
    )
    found = start(subject, volumes=dict.fromkeys(("data", "c", "p"), Path("/v"))).mounts[-3:]
    assert [mount.read_only for mount in found] == [False, True, True]


# -- files ------------------------------------------------------------------------------------------------------------


def files(**source: Any) -> dict[str, File]:
    volume = msgspec.convert({"name": "v", **source}, Volume)
    tokens = dict.fromkeys(token_projections(volume), "a-token")
    return payload(volume, pod=pod(), sources=SOURCES, facts=FACTS, tokens=tokens)


def test_files_of_every_kind_of_volume() -> None:
    assert files(configMap={"name": "settings"})["blob"].data == b"\xff"
    found = files(secret={"secretName": "keys", "defaultMode": 0o400, "items": [{"key": "password", "path": "a/b"}]})
    assert found == {"a/b": File(b"s3cret", 0o400)}
    assert files(configMap={"name": "none", "optional": True}) == {}
    found = files(
        projected={
            "sources": [
                {"serviceAccountToken": {"path": "token"}},
                {"configMap": {"name": "settings", "items": [{"key": "colour", "path": "c", "mode": 0o600}]}},
                {"downwardAPI": {"items": [{"path": "notes", "fieldRef": {"fieldPath": "metadata.annotations"}}]}},
            ]
        }
    )
    assert found == {
        "token": File(b"a-token"),
        "c": File(b"green", 0o600),
        "notes": File(b'note="say \\"hi\\"\\n"'),
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        (
            {"configMap": {"name": "settings", "items": [{"key": "k", "path": "p"}]}},
            "configmap references non-existent config key: k",
        ),
        ({"configMap": {"name": "settings", "items": [{"key": "colour", "path": "../p"}]}}, "invalid path in volume"),
    ],
)
def test_what_keeps_a_volume_from_being_set_up_is_named(source: dict[str, Any], message: str) -> None:
    with pytest.raises(MountError, match=message):
        files(**source)


def test_labels_are_quoted_as_the_kubelet_does() -> None:
    assert format_map({"b": "2", "a": "\x01é"}) == 'a="\\x01é"\nb="2"'


def test_atomic_writes_exchange_everything_at_once(tmp_path: Path) -> None:
    root = tmp_path / "v"
    assert atomic.write(root, {"a": File(b"1"), "dir/b": File(b"2", 0o400)})
    assert not atomic.write(root, {"a": File(b"1"), "dir/b": File(b"2", 0o400)})
    assert stat.S_IMODE((root / "dir" / "b").stat().st_mode) == 0o400
    assert os.readlink(root / "a") == "..data/a"
    held = (root / "..data").resolve()
    assert atomic.write(root, {"a": File(b"3")})
    assert (root / "a").read_bytes() == b"3"
    assert not held.exists()
    assert sorted(entry.name for entry in root.iterdir() if not entry.name.startswith("..2")) == ["..data", "a"]


def test_a_write_that_was_cut_off_is_made_good(tmp_path: Path) -> None:
    root = tmp_path / "v"
    atomic.write(root, {"a": File(b"1")})
    (root / "..data_tmp").symlink_to("..nowhere")
    (root / "..2020_half").mkdir()
    atomic.write(root, {"a": File(b"2")})
    assert (root / "a").read_bytes() == b"2"
    assert not (root / "..2020_half").exists()


@pytest.mark.parametrize(
    ("kind", "makes", "fails"),
    [("", True, False), ("DirectoryOrCreate", True, False), ("Directory", False, True), ("FileOrCreate", True, False)],
)
def test_host_paths(tmp_path: Path, kind: str, makes: bool, fails: bool) -> None:
    from wherry.kube.objects import HostPathVolume

    path = tmp_path / "x"
    if fails:
        with pytest.raises(MountError, match=f"^hostPath type check failed: {path} is not a directory$"):
            hostpath.prepare(HostPathVolume(path=str(path), type=kind))
    else:
        assert hostpath.prepare(HostPathVolume(path=str(path), type=kind)) == path
    assert path.exists() is makes
    (tmp_path / "file").touch()
    with pytest.raises(MountError, match="is not a socket file"):
        hostpath.prepare(HostPathVolume(path=str(tmp_path / "file"), type="Socket"))


def test_references_of_a_pod() -> None:
    subject = pod(
        container(envFrom=[{"secretRef": {"name": "a"}}], env=[from_("configMapKeyRef", name="b", key="k")]),
        volumes=[{"name": "v", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}}],
    )
    assert pod_references(subject) == {
        Reference("Secret", "a"),
        Reference("ConfigMap", "b"),
        Reference("ConfigMap", "kube-root-ca.crt"),
    }


async def test_volumes_of_a_program_follow_their_sources_and_go_with_the_pod(node: Node) -> None:
    config = {"metadata": {"name": "settings", "namespace": "default"}, "data": {"colour": "green"}}
    node.server.put(CONFIG_MAPS.as_dict(), config)
    sources = [{"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "settings"}}]
    async with node.running():
        made = node.put(
            pod_json(
                containers=[
                    container(image="busybox", command=["sleep"], volumeMounts=[{"name": "all", "mountPath": "/all"}])
                ],
                volumes=[{"name": "all", "projected": {"sources": sources}}],
                restartPolicy="Never",
            )
        )
        await node.until_ready()
        root = Path(node.runtime.running()["web"].mounts[-1].source)
        assert (root / "token").read_text() == "token-1"
        assert (root / "colour").read_text() == "green"
        node.server.put(CONFIG_MAPS.as_dict(), config | {"data": {"colour": "blue"}})
        async with asyncio.timeout(5):
            while (root / "colour").read_text() != "blue":  # noqa: ASYNC110 - a reader of files has nothing to wait on
                await asyncio.sleep(0.005)
        assert node.server.tokens == 1
        node.server.remove(PODS, "web", "default")
        await node.until_runtime(lambda: made["metadata"]["uid"] not in node.sandboxes.known)


async def test_a_pod_of_stand_ins_asks_for_no_token_and_writes_no_file(node: Node) -> None:
    async with node.running() as controller:
        made = node.put(
            pod_json(volumes=[{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}])
        )
        await node.until_ready()
        files_ = node.settings.data_dir / "kubelet" / "pods" / made["metadata"]["uid"]
        assert node.server.tokens == 0
        assert not files_.exists()
        await controller.exec("default", "web", "web", ["cat", "/token"], tty=False, stdin=False)
        assert (files_ / "volumes" / "t" / "token").read_text() == "token-1"


# -- names ------------------------------------------------------------------------------------------------------------

CLUSTER = ClusterDns(servers=("10.43.0.10",), domain="cluster.local", node=Dns(("9.9.9.9",), ("lan",), ("rotate",)))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {},
            Dns(
                ("10.43.0.10",),
                ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"),
                ("ndots:5",),
            ),
        ),
        ({"dnsPolicy": "Default"}, CLUSTER.node),
        ({"hostNetwork": True}, CLUSTER.node),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"]}}, Dns(("1.1.1.1",))),
        (
            {"dnsPolicy": "Default", "dnsConfig": {"searches": ["x"], "options": [{"name": "ndots", "value": "2"}]}},
            Dns(("9.9.9.9",), ("lan", "x"), ("rotate", "ndots:2")),
        ),
    ],
)
def test_resolv_conf(spec: dict[str, Any], expected: Dns) -> None:
    assert pod_dns(pod(**spec), CLUSTER) == expected


def test_cluster_first_with_host_network_asks_the_cluster() -> None:
    assert pod_dns(pod(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"), CLUSTER).servers == ("10.43.0.10",)


def test_names_of_a_pod() -> None:
    assert pod_names(pod(), "cluster.local") == ("web", "", "web")
    full = "db.s.default.svc.c"
    assert pod_names(pod(hostname="db", subdomain="s"), "c") == ("db", full, "db")
    assert pod_names(pod(hostname="db", subdomain="s", setHostnameAsFQDN=True), "c") == (full, full, "db")
    assert pod_names(pod(subdomain="s", hostnameOverride="x.example"), "c") == ("x.example", "", "x.example")
    with pytest.raises(NameTooLong, match=r"is too long \(64 characters is the max, 79 characters requested\)"):
        pod_names(pod(hostname="d" * 63, subdomain="s", setHostnameAsFQDN=True), "c")
    long = msgspec.structs.replace(pod(), metadata=msgspec.structs.replace(pod().metadata, name="a" * 62 + "-b"))
    assert pod_names(long, "c")[0] == "a" * 62


def test_what_resolvers_have_no_room_for_is_left_out_and_said() -> None:
    assert fitted(CLUSTER.node) == (CLUSTER.node, ())
    wide = Dns(("1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"), tuple(f"{n}.example" for n in range(40)))
    kept, said = fitted(wide)
    assert (kept.servers, len(kept.searches)) == (wide.servers[:3], 32)
    assert said[1].endswith("the applied nameserver line is: 1.1.1.1 2.2.2.2 3.3.3.3")
    assert len(" ".join(fitted(Dns(searches=("a" * 60,) * 40))[0].searches)) <= 2048


def test_reading_resolv_conf() -> None:
    text = "# x\nnameserver 1.1.1.1\nsearch a b\noptions ndots:2 rotate\nnameserver ::1\nsortlist x\nnameserver\n"
    assert read_resolv_conf(text) == Dns(("1.1.1.1", "::1"), ("a", "b"), ("ndots:2", "rotate"))

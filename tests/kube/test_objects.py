import re

import msgspec
import pytest

from wherry.kube import kinds
from wherry.kube import objects as o
from wherry.kube.keys import Key
from wherry.kube.objects.base import json_name
from wherry.kube.times import format_micro_time, format_time, parse_time


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("name", "name"),
        ("api_version", "apiVersion"),
        ("cluster_ips", "clusterIPs"),
        ("pod_ip", "podIP"),
        ("ip_families", "ipFamilies"),
        ("pod_cidrs", "podCIDRs"),
        ("container_id", "containerID"),
        ("system_uuid", "systemUUID"),
        ("non_resource_urls", "nonResourceURLs"),
        ("downward_api", "downwardAPI"),
        ("uid", "uid"),
        ("host_pid", "hostPID"),
        ("host_ipc", "hostIPC"),
    ],
)
def test_json_names(attribute, name):
    assert json_name(attribute) == name


def test_names_that_follow_no_rule():
    names = {field.name: field.encode_name for field in msgspec.structs.fields(o.PodSpec)}
    assert names["set_hostname_as_fqdn"] == "setHostnameAsFQDN"
    affinity = {field.name: field.encode_name for field in msgspec.structs.fields(o.NodeAffinity)}
    assert affinity["required"] == "requiredDuringSchedulingIgnoredDuringExecution"
    assert msgspec.json.encode(o.DaemonEndpoint(port=10250)) == b'{"Port":10250}'


def test_every_field_name_is_known_to_kubernetes():
    """Field names are compared with the published schema; a misspelt one would silently stay empty."""
    validate = pytest.importorskip("kubernetes_validate")
    from importlib import resources

    schemas = resources.files(validate).joinpath("kubernetes-json-schema")
    versions = [entry.name for entry in schemas.iterdir() if re.fullmatch(r"v[\d.]+-local", entry.name)]
    name = max(versions, key=lambda text: [int(number) for number in re.findall(r"\d+", text)])
    path = schemas.joinpath(name, "_definitions.json")
    definitions = msgspec.json.decode(path.read_bytes())
    definitions = definitions.get("definitions") or definitions["$defs"]
    unknown: set[str] = set()
    for kind in kinds.KINDS:
        suffix = f"{kind.version}.{kind.kind}"
        group = (kind.group or "core").removesuffix(".k8s.io").removesuffix(".authorization").partition(".")[0]
        schema = next(value for key, value in definitions.items() if key.endswith(suffix) and f".{group}." in key)
        _compare(kind.type, schema, definitions, kind.kind, unknown, set())
    assert unknown == set()


def _compare(type_, schema, definitions, where, unknown, done):
    while "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if type_ in done or "properties" not in schema:
        return
    done.add(type_)
    for field in msgspec.structs.fields(type_):
        inner = schema["properties"].get(field.encode_name)
        if inner is None:
            if type_ is not o.Condition:
                unknown.add(f"{where}.{field.encode_name}")
            continue
        for model in _models(field.type):
            _compare(model, inner.get("items", inner), definitions, f"{where}.{field.encode_name}", unknown, done)


def _models(type_):
    if isinstance(type_, type) and issubclass(type_, o.Model):
        yield type_
    for argument in getattr(type_, "__args__", ()):
        yield from _models(argument)


def test_objects_are_immutable():
    pod = o.Pod()
    with pytest.raises(AttributeError):
        pod.metadata.name = "x"
    with pytest.raises(AttributeError):
        pod.status = o.PodStatus()


def test_secrets_are_decoded():
    secret = msgspec.json.decode(b'{"data":{"k":"aGk="}}', type=o.Secret)
    assert secret.data == {"k": b"hi"}
    assert b'"k":"aGk="' in kinds.SECRETS.encode(secret)


def test_encoding_names_the_kind():
    assert msgspec.json.decode(kinds.DEPLOYMENTS.encode(o.Deployment())) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
    }
    encoded = kinds.PODS.encode(o.Pod(metadata=o.ObjectMeta(name="a")))
    assert msgspec.json.decode(encoded) == {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    assert kinds.PODS.as_dict().encode({"metadata": {"name": "a"}}) == (
        b'{"metadata":{"name":"a"},"apiVersion":"v1","kind":"Pod"}'
    )


def test_paths_and_look_ups():
    assert kinds.PODS.path() == "/api/v1/pods"
    assert kinds.PODS.path(namespace="n", name="p", subresource="log") == "/api/v1/namespaces/n/pods/p/log"
    assert kinds.NODES.path(namespace="ignored", name="n") == "/api/v1/nodes/n"
    assert kinds.DEPLOYMENTS.path(namespace="n") == "/apis/apps/v1/namespaces/n/deployments"
    assert kinds.by_plural("apps", "deployments") is kinds.DEPLOYMENTS
    assert kinds.by_kind("apps/v1", "Deployment") is kinds.DEPLOYMENTS
    assert kinds.by_kind("apps/v1", "Pod") is None
    assert kinds.of(o.Pod()) is kinds.PODS
    assert kinds.DEPLOYMENTS.resource == "deployments.apps"


def test_references():
    pod = o.Pod(metadata=o.ObjectMeta(name="p", namespace="n", uid="u", resource_version="3"))
    assert kinds.reference(pod) == o.ObjectReference(
        api_version="v1", kind="Pod", namespace="n", name="p", uid="u", resource_version="3"
    )
    owner = kinds.controller_reference(pod)
    child = o.Pod(metadata=o.ObjectMeta(owner_references=(o.OwnerReference(name="x"), owner)))
    assert child.metadata.controller == owner


def test_keys():
    assert Key.parse("ns/name") == Key("ns", "name")
    assert Key.parse("name") == Key("", "name")
    assert [str(Key("ns", "name")), str(Key("", "name"))] == ["ns/name", "name"]
    for wrong in ("", "/", "a/", "/b", "a/b/c"):
        with pytest.raises(ValueError, match="not an object key"):
            Key.parse(wrong)


def test_conditions_and_addresses():
    node = o.Node(
        status=o.NodeStatus(
            conditions=(o.Condition(type="Ready", status="True"),),
            addresses=(
                o.NodeAddress(type="InternalIP", address="1.1.1.1"),
                o.NodeAddress(type="Hostname", address="h"),
            ),
        )
    )
    assert node.ready
    assert node.addresses() == ("1.1.1.1",)
    assert node.addresses("Hostname") == ("h",)
    assert not o.Pod().ready
    assert o.Pod(status=o.PodStatus(phase="Failed")).finished


def test_times():
    assert format_time(0) == "1970-01-01T00:00:00Z"
    assert format_micro_time(1.0000004) == "1970-01-01T00:00:01.000000Z"
    assert format_micro_time(1.9999999) == "1970-01-01T00:00:02.000000Z"
    assert parse_time("1970-01-01T00:00:01.5Z") == 1.5
    assert parse_time("1970-01-01T01:00:00+01:00") == 0
    with pytest.raises(ValueError):
        parse_time("yesterday")

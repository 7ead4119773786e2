import base64
import json
import sys

import pytest
import yaml

from wherry.kube.endpoint import ConfigError, Endpoint
from wherry.kube.pki import Authority


@pytest.fixture(scope="module")
def authority():
    return Authority.create("ca")


def config(cluster=None, user=None, **rest):
    return {
        "current-context": "main",
        "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u", "namespace": "web"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:8080/"} | (cluster or {})}],
        "users": [{"name": "u", "user": user or {}}],
    } | rest


@pytest.fixture
def write(tmp_path):
    def write(content, name="config"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write


async def test_server_token_and_namespace(write):
    endpoint = Endpoint.from_kubeconfig(write(config(user={"token": "secret"})))
    assert (endpoint.url, endpoint.namespace, endpoint.ssl) == ("http://127.0.0.1:8080", "web", None)
    assert await endpoint.token() == "secret"
    assert "secret" not in repr(endpoint)


async def test_token_file_relative_to_the_config(write, tmp_path):
    (tmp_path / "token").write_text("from-file\n")
    endpoint = Endpoint.from_kubeconfig(write(config(user={"tokenFile": "token", "token": "ignored"})))
    assert await endpoint.token() == "from-file"


def test_inline_certificates(write, authority):
    pair = authority.issue_client("jane")
    encoded = {
        "client-certificate-data": base64.b64encode(pair.certificate).decode(),
        "client-key-data": base64.b64encode(pair.key).decode(),
    }
    cluster = {
        "server": "https://[::1]:6443",
        "certificate-authority-data": base64.b64encode(authority.certificate).decode(),
        "tls-server-name": "kubernetes",
    }
    endpoint = Endpoint.from_kubeconfig(write(config(cluster, encoded)))
    assert endpoint.server_name == "kubernetes"
    assert [dict(pair for (pair,) in ca["subject"])["commonName"] for ca in endpoint.ssl.get_ca_certs()] == ["ca"]


def test_insecure(write):
    cluster = {"server": "https://x", "insecure-skip-tls-verify": True}
    assert not Endpoint.from_kubeconfig(write(config(cluster))).ssl.check_hostname


def test_another_context(write):
    content = config()
    content["contexts"].append({"name": "other", "context": {"cluster": "c"}})
    endpoint = Endpoint.from_kubeconfig(write(content), "other")
    assert (endpoint.namespace, endpoint.token) == ("default", None)


def test_files_of_the_environment_are_merged(write, monkeypatch):
    first = write({"current-context": "main", "clusters": [{"name": "c", "cluster": {"server": "http://first"}}]}, "a")
    second = write(config(), "b")
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}:/nowhere/at/all")
    assert Endpoint.from_kubeconfig().url == "http://first"


def test_home_directory(write, monkeypatch, tmp_path):
    (tmp_path / ".kube").mkdir()
    write(config(), ".kube/config")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Endpoint.from_kubeconfig().url == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "kubeconfig .*config"),
        ("just text", "is no mapping"),
        (config(**{"current-context": ""}), "no current-context"),
        (config(**{"current-context": "x"}), "no context named 'x'"),
        (config(clusters=[]), "no cluster named 'c'"),
        (config(users=[]), "no user named 'u'"),
        (config(users=["x"]), "malformed entry in users"),
        (config({"server": "ftp://x"}), "no usable server URL"),
        (config({"server": "https://x", "certificate-authority": "missing.crt"}), "TLS settings .*missing.crt"),
        (config({"server": "https://x", "certificate-authority-data": "!"}), "TLS settings"),
        (config({"server": "https://x"}, {"client-certificate-data": "eA=="}), "without its key"),
        (config({"proxy-url": "http://p"}), "proxy-url"),
        (config(user={"exec": {"args": []}}), "exec plugin without command"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(write, content, message):
    with pytest.raises(ConfigError, match=message):
        Endpoint.from_kubeconfig(write(content))


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        Endpoint.from_kubeconfig(tmp_path / "nowhere")


PLUGIN = """
import json, os, sys, pathlib
calls = pathlib.Path(sys.argv[1])
calls.write_text(calls.read_text() + "x" if calls.exists() else "x")
request = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
assert request["kind"] == "ExecCredential" and os.environ["EXTRA"] == "1"
print(json.dumps({"apiVersion": request["apiVersion"], "kind": "ExecCredential", "status": json.loads(sys.argv[2])}))
"""


def plugin(write, tmp_path, status, **more):
    script = write(PLUGIN, "plugin.py")
    arguments = [str(script), str(tmp_path / "calls"), json.dumps(status)]
    return {"command": sys.executable, "args": arguments, "env": [{"name": "EXTRA", "value": "1"}]} | more


async def test_exec_plugin_token_is_kept_until_it_expires(write, tmp_path):
    spec = plugin(write, tmp_path, {"token": "t", "expirationTimestamp": "2999-01-01T00:00:00Z"})
    endpoint = Endpoint.from_kubeconfig(write(config(user={"exec": spec})))
    assert [await endpoint.token(), await endpoint.token()] == ["t", "t"]
    assert (tmp_path / "calls").read_text() == "x"


async def test_exec_plugin_is_asked_again_when_expired(write, tmp_path):
    spec = plugin(write, tmp_path, {"token": "t", "expirationTimestamp": "2000-01-01T00:00:00Z"})
    endpoint = Endpoint.from_kubeconfig(write(config(user={"exec": spec})))
    assert [await endpoint.token(), await endpoint.token()] == ["t", "t"]
    assert (tmp_path / "calls").read_text() == "xx"


def test_exec_plugin_certificate(write, tmp_path, authority):
    pair = authority.issue_client("jane")
    status = {"clientCertificateData": pair.certificate.decode(), "clientKeyData": pair.key.decode()}
    spec = plugin(write, tmp_path, status)
    endpoint = Endpoint.from_kubeconfig(write(config({"server": "https://x"}, {"exec": spec})))
    assert endpoint.ssl is not None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"command": "/no/such/plugin", "installHint": "install it"}, "install it"),
        ({"args": ["-c", "raise SystemExit('no login')"]}, "exit status 1: no login"),
        ({"args": ["-c", "print('{}')"]}, "exec plugin"),
    ],
)
async def test_exec_plugins_that_fail(write, tmp_path, more, message):
    spec = plugin(write, tmp_path, {}, **more)
    endpoint = Endpoint.from_kubeconfig(write(config(user={"exec": spec})))
    with pytest.raises(ConfigError, match=message):
        await endpoint.token()


async def test_in_cluster(tmp_path, monkeypatch, authority):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(ConfigError, match="service account"):
        Endpoint.in_cluster(root=tmp_path)
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    (tmp_path / "namespace").write_text("web\n")
    (tmp_path / "token").write_text("t")
    endpoint = Endpoint.in_cluster(root=tmp_path)
    assert (endpoint.url, endpoint.namespace, await endpoint.token()) == ("https://[fd00::1]:443", "web", "t")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(ConfigError, match="not in a pod"):
        Endpoint.in_cluster(root=tmp_path)

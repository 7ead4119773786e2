"""Nodes: joining, what their credentials reach, and the streams that end at their kubelets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from wherry.apiserver.testing import ADMIN_TOKEN, JOIN_TOKEN, Answer, Running
from wherry.kube import pki

PODS = "/api/v1/namespaces/default/pods"
PASSWORD = "0123456789abcdef"


def request(user: str, *groups: str, hosts: tuple[str, ...] = (), key: Any = None) -> tuple[str, bytes]:
    """A certificate request and its key, both PEM."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), False)
    encoding = serialization.Encoding.PEM
    signed = builder.sign(key, SHA256()).public_bytes(encoding).decode()
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return signed, key.private_bytes(encoding, form, plain)


async def join(api: Running, name: str = "n1", *, token: str = JOIN_TOKEN, **changes: Any) -> Answer:
    user = f"system:node:{name}"
    body = {
        "client_request": request(user, "system:nodes")[0],
        "serving_request": request(user, "system:nodes", hosts=(name,))[0],
        "addresses": ["10.0.0.1"],
        "password": PASSWORD,
        **changes,
    }
    return await api.ask("POST", f"/v1-wherry/nodes/{name}/credentials", body, token=token)


async def test_a_node_gets_certificates_that_say_who_it_is(api: Running) -> None:
    client_request, key = request("system:node:n1", "system:nodes")
    answer = await join(api, client_request=client_request)
    assert answer.status == 200, answer.body
    (api.directory / "n1.crt").write_text(answer.body["client_certificate"])
    (api.directory / "n1.key").write_bytes(key)
    review = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    url = f"https://127.0.0.1:{api.port}/apis/authentication.k8s.io/v1/selfsubjectreviews"
    async with aiohttp.ClientSession() as session, session.post(url, json=review, ssl=api.tls("n1")) as response:
        info = (await response.json())["status"]["userInfo"]
    assert (info["username"], info["groups"][0]) == ("system:node:n1", "system:nodes")
    serving = x509.load_pem_x509_certificate(answer.body["serving_certificate"].encode())
    names = serving.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["n1"]


async def test_a_name_belongs_to_the_machine_that_took_it_first(api: Running) -> None:
    assert (await join(api)).status == 200
    assert (await join(api)).status == 200
    refused = await join(api, password="another-password-here")
    assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
    secret = "/api/v1/namespaces/kube-system/secrets/n1.node-password.k3s"
    assert PASSWORD not in str((await api.ask("GET", secret)).body)
    await api.ask("DELETE", secret)
    assert (await join(api, password="another-password-here")).status == 200


_RSA = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    "changes",
    [
        {"client_request": "nonsense"},
        {"client_request": request("system:node:other", "system:nodes")[0]},
        {"client_request": request("system:node:n1", "system:masters")[0]},
        {"client_request": request("system:node:n1", "system:nodes", "system:masters")[0]},
        {"client_request": request("system:node:n1", "system:nodes", hosts=("n1",))[0]},
        {"client_request": request("system:node:n1", "system:nodes", key=_RSA)[0]},
        {"serving_request": request("system:node:n1", "system:nodes")[0]},
        {"serving_request": request("system:node:n1", "system:nodes", hosts=("kubernetes.default",))[0]},
        {"addresses": []},
        {"addresses": ["nonsense"]},
        {"password": "short"},
    ],
)
async def test_anything_else_than_a_proper_request_is_refused(api: Running, changes: dict[str, Any]) -> None:
    answer = await join(api, **changes)
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")
    secret = "/api/v1/namespaces/kube-system/secrets/n1.node-password.k3s"
    assert (await api.ask("GET", secret)).status == 404  # the name is still free


async def test_a_name_that_is_in_use_without_a_password_is_refused_and_whose_it_is_is_said(api: Running) -> None:
    status = {
        "conditions": [{"type": "Ready", "status": "True"}],
        "addresses": [{"type": "InternalIP", "address": "192.0.2.7"}, {"type": "Hostname", "address": "x"}],
    }
    await api.ask("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}, "status": status})
    refused = await join(api)
    assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
    assert refused.body["message"].startswith(
        'Node password rejected, duplicate hostname: node "n1" is another machine at 192.0.2.7. Give this one a name'
    )
    assert refused.body["message"].endswith("kubectl delete node n1")
    # Made by hand and never used, or its machine is long gone: whoever comes may have it.
    status["conditions"] = [{"type": "Ready", "status": "Unknown"}]
    patch, kind = {"status": status}, "application/merge-patch+json"
    assert (await api.ask("PATCH", "/api/v1/nodes/n1/status", patch, Content_Type=kind)).status == 200
    assert (await join(api)).status == 200


async def test_joining_needs_the_join_token_and_a_name(api: Running) -> None:
    for token in ("", "wrong", ADMIN_TOKEN):
        assert (await join(api, token=token)).status == 401
    assert (await join(api, "Bad_Name")).status == 400
    assert (await api.ask("GET", "/v1-wherry/nodes/n1/credentials", token=JOIN_TOKEN)).status == 405
    assert (await api.ask("GET", "/v1-wherry/other", token=JOIN_TOKEN)).status == 404


def as_node(name: str) -> dict[str, str]:
    return {"impersonate_user": f"system:node:{name}", "impersonate_group": "system:nodes"}


async def make_pod(api: Running, name: str, node: str) -> None:
    await api.ask("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": False}
    answer = await api.ask("POST", PODS, {"metadata": {"name": name}, "spec": spec})
    assert answer.status == 201, answer.body


async def test_a_node_touches_only_what_is_its_own(api: Running) -> None:
    for name, status in (("n1", 201), ("n2", 403)):
        answer = await api.ask("POST", "/api/v1/nodes", {"metadata": {"name": name}}, **as_node("n1"))
        assert answer.status == status, answer.body
    await make_pod(api, "mine", "n1")
    await make_pod(api, "other", "n2")
    patch, kind = {"status": {"phase": "Running"}}, "application/merge-patch+json"
    for name, status in (("mine", 200), ("other", 403)):
        answer = await api.ask("PATCH", f"{PODS}/{name}/status", patch, Content_Type=kind, **as_node("n1"))
        assert answer.status == status
        reference = {"kind": "Pod", "apiVersion": "v1", "name": name}
        token = "/api/v1/namespaces/default/serviceaccounts/default/token"
        answer = await api.ask("POST", token, {"spec": {"boundObjectRef": reference}}, **as_node("n1"))
        assert answer.status == (201 if status == 200 else 403)
        gone = await api.ask("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0", **as_node("n1"))
        assert gone.status == status
    assert (await api.ask("POST", token, {"spec": {}}, **as_node("n1"))).status == 403
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    assert (await api.ask("POST", leases, {"metadata": {"name": "n2"}}, **as_node("n1"))).status == 403
    assert (await api.ask("POST", leases, {"metadata": {"name": "n1"}}, **as_node("n1"))).status == 201


@asynccontextmanager
async def kubelet(api: Running) -> AsyncIterator[list[str]]:
    """A kubelet that answers to the server's certificate alone, on node n1; yields the requests it saw."""
    seen: list[str] = []

    async def handle(asked: web.BaseRequest) -> web.StreamResponse:
        subject = dict(part[0] for part in asked.transport.get_extra_info("peercert")["subject"])  # type: ignore[union-attr]
        seen.append(f"{subject['commonName']} {asked.method} {asked.path_qs}")
        assert "authorization" not in asked.headers
        if asked.path.startswith("/containerLogs/default/p/broken"):
            return web.Response(status=400, text="container is waiting to start")
        if asked.path.startswith("/containerLogs"):
            response = web.StreamResponse()
            await response.prepare(asked)
            for line in (b"one\n", b"two\n"):
                await response.write(line)
            return response
        socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io",))
        await socket.prepare(asked)
        async for message in socket:
            await socket.send_bytes(b"\x01" + message.data[1:])
            if message.data == b"\x00bye":
                break
        await socket.close()
        return socket

    authority = pki.Authority(pki.KeyPair.load(api.directory / "ca.crt", api.directory / "ca.key"))
    authority.issue_server("n1", ["127.0.0.1"]).save(api.directory / "kubelet.crt", api.directory / "kubelet.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(api.directory / "kubelet.crt", api.directory / "kubelet.key")
    context.load_verify_locations(api.directory / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.get_running_loop().create_server(web.Server(handle), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    await api.ask("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    kind = "application/merge-patch+json"
    assert (await api.ask("PATCH", "/api/v1/nodes/n1/status", {"status": status}, Content_Type=kind)).status == 200
    try:
        yield seen
    finally:
        server.close()
        await server.wait_closed()


async def test_logs_come_from_the_kubelet(api: Running) -> None:
    await make_pod(api, "p", "n1")
    async with kubelet(api) as seen:
        answer = await api.ask("GET", f"{PODS}/p/log?tailLines=5&follow=true&timestamps=true")
        assert (answer.status, answer.body) == (200, b"one\ntwo\n")
        assert seen == ["carol GET /containerLogs/default/p/c?follow=true&timestamps=true&tailLines=5"]
        assert (await api.ask("GET", f"{PODS}/p/log?container=x")).status == 400
        assert (await api.ask("GET", f"{PODS}/p/log?tailLines=-1")).status == 422
    answer = await api.ask("GET", f"{PODS}/p/log")
    assert (answer.status, "127.0.0.1" in answer.body["message"]) == (500, True)


async def test_exec_is_passed_on_byte_for_byte(api: Running) -> None:
    await make_pod(api, "p", "n1")
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with kubelet(api) as seen:
        url = f"http://wherry{PODS}/p/exec?command=sh&command=-c&stdin=true&stdout=true&tty=true"
        big = b"\x00" + b"x" * 300_000
        async with api.unix.ws_connect(url, headers=headers, protocols=("v5.channel.k8s.io",)) as socket:
            assert socket.protocol == "v5.channel.k8s.io"
            for data in (b"\x00hello", big, b"\x00bye"):
                await socket.send_bytes(data)
                assert (await socket.receive_bytes(timeout=5)) == b"\x01" + data[1:]
            assert (await socket.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE
        assert seen == ["carol GET /exec/default/p/c?command=sh&command=-c&input=1&output=1&tty=1"]
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await api.unix.ws_connect(f"http://wherry{PODS}/p/exec?command=sh&stdout=true")
        assert caught.value.status == 403
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await api.unix.ws_connect(url, headers=headers)
    assert caught.value.status == 503
    plain = await api.ask("GET", f"{PODS}/p/exec?command=sh&stdout=true")
    assert (plain.status, plain.body["message"]) == (400, "Upgrade request required")

"""The kinds about the API server itself: stored, defaulted, checked, decided upon, and honest in their conditions."""

from __future__ import annotations

import base64
from pathlib import Path

from wherry.apiserver.testing import running
from wherry.server.notices import notices

CERTIFICATES = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
REQUEST = base64.b64encode(b"-----BEGIN CERTIFICATE REQUEST-----\nx\n-----END CERTIFICATE REQUEST-----\n").decode()


async def test_a_signing_request_says_who_asked_and_keeps_its_decision(tmp_path: Path) -> None:
    body = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "a"},
        "spec": {
            "request": REQUEST,
            "signerName": "example.com/own",
            "usages": ["client auth"],
            "username": "somebody else",
        },
    }
    async with running(tmp_path, notices=notices) as api:
        made = await api.ask("POST", CERTIFICATES, body)
        assert made.status == 201, made.body
        assert made.body["spec"]["username"] == "admin"
        assert "no signer" in made.headers["Warning"]
        approved = made.body | {"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "Fine"}]}}
        ignored = await api.ask("PUT", f"{CERTIFICATES}/a/status", approved)
        assert ignored.body["status"] == {}
        approved["metadata"] = ignored.body["metadata"]
        decided = await api.ask("PUT", f"{CERTIFICATES}/a/approval", approved)
        assert decided.status == 200, decided.body
        assert [one["type"] for one in decided.body["status"]["conditions"]] == ["Approved"]
        assert decided.body["status"]["conditions"][0]["lastUpdateTime"]
        undone = await api.ask("PUT", f"{CERTIFICATES}/a/approval", decided.body | {"status": {}})
        assert undone.status == 422
        table = await api.ask("GET", CERTIFICATES, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        assert table.body["rows"][0]["cells"][2:] == ["example.com/own", "admin", "<none>", "Approved"]
        bad = await api.ask("POST", CERTIFICATES, body | {"spec": {"signerName": "own"}})
        assert {cause["field"] for cause in bad.body["details"]["causes"]} == {
            "spec.request",
            "spec.usages",
            "spec.signerName",
        }


async def test_flow_control_has_its_defaults(tmp_path: Path) -> None:
    prefix = "/apis/flowcontrol.apiserver.k8s.io/v1"
    queue = {"type": "Queue", "queuing": {}}
    level = {"metadata": {"name": "a"}, "spec": {"type": "Limited", "limited": {"limitResponse": queue}}}
    flow = {"metadata": {"name": "a"}, "spec": {"priorityLevelConfiguration": {"name": "a"}}}
    async with running(tmp_path) as api:
        made = await api.ask("POST", f"{prefix}/prioritylevelconfigurations", level)
        assert made.body["spec"]["limited"] == {
            "nominalConcurrencyShares": 30,
            "limitResponse": {"type": "Queue", "queuing": {"queues": 64, "handSize": 8, "queueLengthLimit": 50}},
            "lendablePercent": 0,
        }
        made = await api.ask("POST", f"{prefix}/flowschemas", flow)
        assert made.body["spec"]["matchingPrecedence"] == 1000


async def test_own_api_services_are_available_and_others_say_that_they_are_not_asked(tmp_path: Path) -> None:
    path = "/apis/apiregistration.k8s.io/v1/apiservices"
    foreign = {
        "metadata": {"name": "v1.example.com"},
        "spec": {
            "group": "example.com",
            "version": "v1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"namespace": "x", "name": "y"},
        },
    }
    async with running(tmp_path, notices=notices) as api:
        own = await api.ask("GET", f"{path}/v1.apps")
        assert own.body["status"]["conditions"][0]["reason"] == "Local"
        taken = own.body | {"spec": own.body["spec"] | {"service": {"namespace": "x", "name": "y"}}}
        taken = await api.ask("PUT", f"{path}/v1.apps", taken | {"metadata": {"name": "v1.apps"}})
        assert taken.status == 200, taken.body
        assert taken.body["status"]["conditions"][0]["status"] == "True"  # this server still answers for it
        made = await api.ask("POST", path, foreign)
        assert "hands no requests on" in made.headers["Warning"]
        assert made.body["spec"]["service"]["port"] == 443
        assert made.body["status"]["conditions"][0]["status"] == "False"
        misnamed = await api.ask("POST", path, foreign | {"metadata": {"name": "x"}})
        assert misnamed.body["details"]["causes"][0]["field"] == "metadata.name"

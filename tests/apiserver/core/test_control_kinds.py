"""The kinds about the API server itself: stored, defaulted, checked, decided upon, and honest in their conditions."""

from __future__ import annotations

import base64
from pathlib import Path

from wherry.apiserver.testing import ALICE_TOKEN, running
from wherry.server.notices import notices

CERTIFICATES = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
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
        role = {
            "metadata": {"name": "approver"},
            "rules": [
                {
                    "apiGroups": ["certificates.k8s.io"],
                    "resources": ["certificatesigningrequests/approval"],
                    "verbs": ["update"],
                }
            ],
        }
        binding = {
            "metadata": {"name": "approver"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "approver"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
        }
        assert (await api.ask("POST", f"{RBAC}/clusterroles", role)).status == 201
        assert (await api.ask("POST", f"{RBAC}/clusterrolebindings", binding)).status == 201
        kept = await api.ask("PUT", f"{CERTIFICATES}/a/approval", approved, token=ALICE_TOKEN)
        assert kept.status == 403
        assert "not permitted to approve requests with signerName" in kept.body["message"]
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


async def test_webhooks_are_defaulted_and_checked_and_a_warning_says_that_none_is_asked(tmp_path: Path) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    service = {"namespace": "x", "name": "y"}
    webhook = {
        "name": "a.example.com",
        "clientConfig": {"service": service},
        "rules": [rule],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    wrong = {
        "name": "a.b",
        "clientConfig": {"url": "http://x/", "service": service},
        "rules": [rule | {"operations": ["*", "READ"], "resources": ["*/*", "pods"]}],
        "timeoutSeconds": 31,
        "admissionReviewVersions": ["v2"],
        "matchConditions": [{"name": "", "expression": "true"}],
    }
    async with running(tmp_path, notices=notices) as api:
        made = await api.ask("POST", path, {"metadata": {"name": "a"}, "webhooks": [webhook]})
        assert made.status == 201, made.body
        assert "its webhooks are not asked" in made.headers["Warning"]
        stored = made.body["webhooks"][0]
        assert (stored["failurePolicy"], stored["timeoutSeconds"], stored["matchPolicy"]) == ("Fail", 10, "Equivalent")
        assert stored["clientConfig"]["service"]["port"] == 443
        assert stored["rules"][0]["scope"] == "*"
        assert stored["reinvocationPolicy"] == "Never"
        bad = await api.ask("POST", path, {"metadata": {"name": "b"}, "webhooks": [wrong]})
        assert bad.status == 422
        assert {cause["field"].removeprefix("webhooks[0].") for cause in bad.body["details"]["causes"]} == {
            "name",
            "clientConfig",
            "rules[0].operations",
            "rules[0].operations[1]",
            "rules[0].resources",
            "sideEffects",
            "timeoutSeconds",
            "admissionReviewVersions",
            "matchConditions[0].name",
        }


async def test_a_policy_binding_needs_its_policy_and_actions_that_go_together(tmp_path: Path) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
    reference = {"name": "x", "selector": {}, "parameterNotFoundAction": "Deny"}
    spec = {"validationActions": ["Deny", "Warn"], "paramRef": reference}
    async with running(tmp_path, notices=notices) as api:
        bad = await api.ask("POST", path, {"metadata": {"name": "a"}, "spec": spec})
        assert {cause["field"] for cause in bad.body["details"]["causes"]} == {
            "spec.policyName",
            "spec.paramRef.name",
            "spec.paramRef.selector",
            "spec.validationActions",
        }
        good = {"policyName": "p", "validationActions": ["Deny"]}
        made = await api.ask("POST", path, {"metadata": {"name": "a"}, "spec": good})
        assert made.status == 201
        assert "not enforced" in made.headers["Warning"]

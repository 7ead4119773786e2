"""RBAC: what rules allow and cover, how bindings reach subjects, and that nobody grants more than they have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.apiserver.authz import Attributes, Rbac, Rule
from wherry.apiserver.authz.aggregation import Aggregation
from wherry.apiserver.authz.escalation import check_binding, check_role
from wherry.apiserver.authz.policy import GROUP, cluster_role_bindings, cluster_roles
from wherry.apiserver.authz.rules import uncovered
from wherry.apiserver.kinds.model import Refusal, User
from wherry.apiserver.storage import MemoryLog, Store

ALICE = User("alice", "", ("team", "system:authenticated"))
ADMIN = User("root", "", ("system:masters", "system:authenticated"))
NOBODY = User("system:anonymous", "", ("system:unauthenticated",))


def rule(**parts: str) -> Rule:
    return Rule(**{key: frozenset(value.split()) for key, value in parts.items()})


@pytest.mark.parametrize(
    ("given_rule", "asked", "allowed"),
    [
        (rule(verbs="get", groups="", resources="pods"), Attributes("get", "apps", "pods"), False),
        (Rule(frozenset({"get"}), frozenset({""}), frozenset({"pods"})), Attributes("get", "", "pods", "", "a"), True),
        (Rule(frozenset({"get"}), frozenset({""}), frozenset({"pods"})), Attributes("get", "", "pods", "log"), False),
        (Rule(frozenset({"get"}), frozenset({""}), frozenset({"*/log"})), Attributes("get", "", "pods", "log"), True),
        (Rule(frozenset({"*"}), frozenset({"*"}), frozenset({"*"})), Attributes("x", "y", "z", "w"), True),
        (Rule(frozenset({"*"}), frozenset({"*"}), frozenset({"*"})), Attributes("get", path="/metrics"), False),
        (rule(verbs="get", paths="/healthz/*"), Attributes("get", path="/healthz/ping"), True),
        (rule(verbs="get", paths="/healthz"), Attributes("get", path="/healthz/ping"), False),
        (rule(verbs="get", groups="apps", resources="deployments", names="web"),
         Attributes("get", "apps", "deployments", "", "a", "web"), True),
        (rule(verbs="get", groups="apps", resources="deployments", names="web"),
         Attributes("get", "apps", "deployments", "", "a", "db"), False),
        (rule(verbs="list", groups="apps", resources="deployments", names="web"),
         Attributes("list", "apps", "deployments", "", "a"), False),
    ],
)  # fmt: skip
def test_what_a_rule_allows(given_rule: Rule, asked: Attributes, allowed: bool) -> None:
    assert given_rule.allows(asked) is allowed


words = st.frozensets(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=2)
names = st.frozensets(st.sampled_from(["n", "m"]), max_size=1)
rules = st.builds(Rule, verbs=words, groups=words, resources=words, names=names)
asked = st.builds(
    Attributes,
    verb=st.sampled_from("abc"),
    group=st.sampled_from("abc"),
    resource=st.sampled_from("abc"),
    name=st.sampled_from(["", "n", "m", "o"]),
)


@given(owned=st.lists(rules, max_size=3), wanted=rules, question=asked)
def test_a_covered_rule_allows_nothing_that_its_cover_does_not(
    owned: list[Rule], wanted: Rule, question: Attributes
) -> None:
    if not uncovered(owned, [wanted]) and wanted.allows(question):
        assert any(one.allows(question) for one in owned)


class Cluster:
    def __init__(self) -> None:
        self.store = Store(MemoryLog())
        self.rbac = Rbac(self.store)

    async def put(self, plural: str, name: str, obj: dict[str, Any], namespace: str = "") -> None:
        bucket = self.store.bucket(f"{GROUP}/{plural}")
        key = f"{namespace}/{name}" if namespace else name
        metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **obj.pop("metadata", {})}
        head = bucket.head(key)
        if head is None:
            await self.store.create(bucket, key, {"metadata": metadata, **obj})
        else:
            await self.store.update(bucket, head, {"metadata": metadata, **obj})

    async def delete(self, plural: str, key: str) -> None:
        bucket = self.store.bucket(f"{GROUP}/{plural}")
        head = bucket.head(key)
        assert head is not None
        await self.store.delete(bucket, head)

    def may(self, user: User, verb: str, resource: str, namespace: str = "", name: str = "", group: str = "") -> bool:
        return self.rbac.decide(user, Attributes(verb, group, resource, "", namespace, name))[0]


@pytest.fixture
async def cluster() -> Cluster:
    return Cluster()


READER = {"rules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]}


def binding(role: str, *subjects: dict[str, str], kind: str = "Role") -> dict[str, Any]:
    return {"roleRef": {"apiGroup": GROUP, "kind": kind, "name": role}, "subjects": list(subjects)}


async def test_a_binding_counts_in_its_namespace_until_it_or_its_role_goes(cluster: Cluster) -> None:
    await cluster.put("rolebindings", "b", binding("reader", {"kind": "Group", "name": "team"}), "a")
    assert not cluster.may(ALICE, "get", "pods", "a")
    await cluster.put("roles", "reader", dict(READER), "a")
    assert cluster.may(ALICE, "get", "pods", "a")
    assert not cluster.may(ALICE, "get", "pods", "b")
    assert not cluster.may(ALICE, "get", "pods")
    assert not cluster.may(ALICE, "delete", "pods", "a")
    assert cluster.rbac.decide(ALICE, Attributes("get", "", "pods", "", "a"))[1] == (
        'RBAC: allowed by RoleBinding "b/a" of Role "reader" to Group "team"'
    )
    await cluster.put("roles", "reader", {"rules": []}, "a")
    assert not cluster.may(ALICE, "get", "pods", "a")
    await cluster.put("roles", "reader", dict(READER), "a")
    await cluster.delete("rolebindings", "a/b")
    assert not cluster.may(ALICE, "get", "pods", "a")


async def test_cluster_wide_bindings_and_service_accounts(cluster: Cluster) -> None:
    await cluster.put("clusterroles", "reader", dict(READER))
    subject = {"kind": "ServiceAccount", "name": "bot", "namespace": "x"}
    await cluster.put("clusterrolebindings", "b", binding("reader", subject, kind="ClusterRole"))
    bot = User("system:serviceaccount:x:bot", "", ("system:serviceaccounts",))
    assert cluster.may(bot, "list", "pods")
    assert cluster.may(bot, "get", "pods", "anywhere")
    assert not cluster.may(User("bot"), "list", "pods")
    # What was there before a restart counts from the start.
    assert Rbac(cluster.store).decide(bot, Attributes("list", "", "pods"))[0]


async def test_administrators_may_do_everything_without_any_role(cluster: Cluster) -> None:
    assert cluster.may(ADMIN, "delete", "anything", group="x.y")
    assert not cluster.may(ALICE, "get", "pods")


async def test_nobody_writes_a_role_with_more_than_they_have(cluster: Cluster) -> None:
    await cluster.put("roles", "reader", dict(READER), "a")
    await cluster.put("rolebindings", "b", binding("reader", {"kind": "User", "name": "alice"}), "a")
    role = {"metadata": {"name": "r"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}
    check_role(cluster.rbac, ALICE, "roles", "a", role, None)
    more = {"metadata": {"name": "r"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]}
    with pytest.raises(Refusal, match="permissions not currently held") as caught:
        check_role(cluster.rbac, ALICE, "roles", "a", more, None)
    assert caught.value.code == 403
    with pytest.raises(Refusal):
        check_role(cluster.rbac, ALICE, "roles", "b", role, None)
    check_role(cluster.rbac, ALICE, "roles", "a", more, more)  # nothing new is granted
    check_role(cluster.rbac, ADMIN, "roles", "a", more, None)
    aggregated = {"metadata": {"name": "r"}, "aggregationRule": {"clusterRoleSelectors": [{}]}}
    with pytest.raises(Refusal):
        check_role(cluster.rbac, ALICE, "clusterroles", "", aggregated, None)


async def test_the_verbs_escalate_and_bind_lift_the_guard(cluster: Cluster) -> None:
    rules = [{"verbs": ["escalate", "bind"], "apiGroups": [GROUP], "resources": ["roles", "clusterroles"]}]
    await cluster.put("clusterroles", "granter", {"rules": rules})
    await cluster.put("clusterroles", "big", {"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]})
    new = {"metadata": {"name": "x"}, **binding("big", {"kind": "User", "name": "bob"}, kind="ClusterRole")}
    with pytest.raises(Refusal):
        check_binding(cluster.rbac, ALICE, "clusterrolebindings", "", new, None)
    subject = {"kind": "User", "name": "alice"}
    await cluster.put("clusterrolebindings", "g", binding("granter", subject, kind="ClusterRole"))
    check_binding(cluster.rbac, ALICE, "clusterrolebindings", "", new, None)
    wide = {"metadata": {"name": "r"}, "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]}
    check_role(cluster.rbac, ALICE, "clusterroles", "", wide, None)
    missing = {"metadata": {"name": "x"}, **binding("none", subject, kind="ClusterRole")}
    with pytest.raises(Refusal) as caught:
        check_binding(cluster.rbac, User("eve"), "clusterrolebindings", "", missing, None)
    assert caught.value.code == 404


async def test_the_bootstrap_policy(cluster: Cluster) -> None:
    for role in cluster_roles():
        await cluster.put("clusterroles", role["metadata"]["name"], role)
    for one in cluster_role_bindings():
        await cluster.put("clusterrolebindings", one["metadata"]["name"], one)
    await Aggregation(cluster.store).settle()
    await cluster.put("rolebindings", "e", binding("edit", {"kind": "User", "name": "alice"}, kind="ClusterRole"), "a")
    assert cluster.may(ALICE, "create", "deployments", "a", group="apps")
    assert cluster.may(ALICE, "list", "pods", "a")  # from view, by way of aggregation
    assert not cluster.may(ALICE, "create", "rolebindings", "a", group=GROUP)
    assert not cluster.may(ALICE, "list", "nodes")
    node = User("system:node:n1", "", ("system:nodes", "system:authenticated"))
    assert cluster.may(node, "list", "services")
    assert cluster.may(node, "update", "leases", "kube-node-lease", group="coordination.k8s.io")
    assert not cluster.may(node, "create", "clusterroles", group=GROUP)
    assert cluster.may(User("system:kube-controller-manager"), "delete", "widgets", "x", group="example.com")
    for path, user, allowed in (
        ("/healthz", NOBODY, True),
        ("/apis", NOBODY, False),
        ("/apis/apps", ALICE, True),
        ("/metrics", ALICE, False),
    ):
        assert cluster.rbac.decide(user, Attributes("get", path=path))[0] is allowed, path
    review = Attributes("create", "authorization.k8s.io", "selfsubjectaccessreviews")
    assert cluster.rbac.decide(ALICE, review)[0]
    assert not cluster.rbac.decide(NOBODY, review)[0]

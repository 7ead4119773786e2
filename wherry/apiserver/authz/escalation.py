"""Nobody grants more than they have: the check on writes of roles and bindings.

A role may hold only what its author may do, unless the author has the verb `escalate` on roles; a binding may refer
only to a role whose rules its author has, unless with the verb `bind` on that role.
https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from wherry.apiserver.authn.identity import MASTERS
from wherry.apiserver.authz.rbac import GROUP, Rbac
from wherry.apiserver.authz.rules import Attributes, Rule, uncovered
from wherry.apiserver.kinds.model import Object, Refusal, User, refuse_forbidden, refuse_not_found

ROLES = frozenset({"roles", "clusterroles"})
BINDINGS = frozenset({"rolebindings", "clusterrolebindings"})


def check_role(rbac: Rbac, user: User, plural: str, namespace: str, new: Object, old: Object | None) -> None:
    """Raises Refusal where `user` may not give a role these rules."""
    if MASTERS in user.groups:
        return
    unchanged = old is not None and new.get("rules") == old.get("rules")
    if unchanged and old is not None and new.get("aggregationRule") == old.get("aggregationRule"):
        return
    name = new["metadata"].get("name", "")
    if rbac.decide(user, Attributes("escalate", GROUP, plural, namespace=namespace, name=name))[0]:
        return
    wanted = [Rule.parse(rule) for rule in new.get("rules") or ()]
    if new.get("aggregationRule"):  # its rules will come from any role that matches
        everything = frozenset("*")
        wanted += [Rule(everything, everything, everything), Rule(everything, paths=everything)]
    missing = uncovered(rbac.rules(user, namespace), wanted)
    if missing:
        raise _refused(plural, name, user, missing)


def check_binding(rbac: Rbac, user: User, plural: str, namespace: str, new: Object, old: Object | None) -> None:
    """Raises Refusal where `user` may not bind this role."""
    if MASTERS in user.groups:
        return
    role = new["roleRef"]
    if old is not None and old["roleRef"] == role and old.get("subjects") == new.get("subjects"):
        return
    resource = "clusterroles" if role["kind"] == "ClusterRole" else "roles"
    if rbac.decide(user, Attributes("bind", GROUP, resource, namespace=namespace, name=role["name"]))[0]:
        return
    rules = rbac.role_rules(role["kind"], namespace, role["name"])
    if rules is None:
        raise refuse_not_found(GROUP, resource, role["name"])
    missing = uncovered(rbac.rules(user, namespace), rules)
    if missing:
        raise _refused(plural, new["metadata"].get("name", ""), user, missing)


def _refused(plural: str, name: str, user: User, missing: Sequence[Rule]) -> Refusal:
    listed = "\n".join(sorted(_compact(rule) for rule in _merge(missing)))
    groups = ", ".join(json.dumps(group) for group in user.groups)
    who = f'user "{user.name}" (groups=[{groups}])'
    text = f"{who} is attempting to grant RBAC permissions not currently held:\n{listed}"
    return refuse_forbidden(GROUP, plural, name, text)


def _merge(parts: Sequence[Rule]) -> list[Rule]:
    """Rules that differ in their verbs alone, told as one."""
    merged: dict[tuple[frozenset[str], ...], frozenset[str]] = {}
    for part in parts:
        key = part[1:]
        merged[key] = merged.get(key, frozenset()) | part.verbs
    return [Rule(verbs, *key) for key, verbs in merged.items()]


def _compact(rule: Rule) -> str:
    titles = {
        "apiGroups": "APIGroups",
        "resources": "Resources",
        "resourceNames": "ResourceNames",
        "nonResourceURLs": "NonResourceURLs",
        "verbs": "Verbs",
    }
    found = rule.to_object()
    parts = [f"{title}:{json.dumps(found[key])}" for key, title in titles.items() if key in found]
    return "{" + ", ".join(parts) + "}"

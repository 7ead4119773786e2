"""The RBAC authorizer: roles and bindings indexed by subject, kept up to date by the store's changes.

Answers are cached per question until a role or binding changes; a question costs a dictionary look-up in the normal
case. Members of system:masters may do everything (as in Kubernetes, so that a broken policy can be repaired).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from wherry.apiserver.authn.identity import MASTERS, SERVICE_ACCOUNT_PREFIX
from wherry.apiserver.authz.rules import Attributes, Rule
from wherry.apiserver.kinds.model import User
from wherry.apiserver.storage import Bucket, Event, EventType, Store

GROUP = "rbac.authorization.k8s.io"
_CACHE_SIZE = 16384

Object = dict[str, Any]
_Subject = tuple[str, str]  # kind (User or Group) and name


class Grant(NamedTuple):
    """One binding as it reaches one subject."""

    binding: str
    namespace: str
    role_kind: str
    role: str
    subject_kind: str
    subject: str

    @property
    def reason(self) -> str:
        """Why something is allowed, as access reviews tell it."""
        kind = "RoleBinding" if self.namespace else "ClusterRoleBinding"
        name = f"{self.binding}/{self.namespace}" if self.namespace else self.binding
        subject = self.subject
        if self.subject_kind == "ServiceAccount":
            namespace, _, account = subject.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")
            subject = f"{account}/{namespace}"
        return f'RBAC: allowed by {kind} "{name}" of {self.role_kind} "{self.role}" to {self.subject_kind} "{subject}"'


class Rbac:
    """Decides requests. Reads the four kinds of RBAC from the store and listens to their changes."""

    def __init__(self, store: Store) -> None:
        self._roles: dict[tuple[str, str, str], tuple[Rule, ...]] = {}
        self._grants: dict[_Subject, dict[tuple[str, str], Grant]] = {}
        self._bound: dict[tuple[str, str], tuple[_Subject, ...]] = {}
        self._decisions: dict[tuple[Any, ...], str | None] = {}
        for plural, kind in (("clusterroles", "ClusterRole"), ("roles", "Role")):
            self._follow_roles(store.bucket(f"{GROUP}/{plural}"), kind)
        for plural in ("clusterrolebindings", "rolebindings"):
            bucket = store.bucket(f"{GROUP}/{plural}")
            for entry in bucket.scan():
                self._add_binding(entry.namespace, entry.name, entry.object())
            bucket.listeners.append(self._binding_changed)

    def _follow_roles(self, bucket: Bucket, kind: str) -> None:
        for entry in bucket.scan():
            self._add_role(kind, entry.namespace, entry.name, entry.object())

        def changed(event: Event) -> None:
            self._decisions.clear()
            entry = event.entry
            if event.type is EventType.DELETED:
                self._roles.pop((kind, entry.namespace, entry.name), None)
            else:
                self._add_role(kind, entry.namespace, entry.name, entry.object())

        bucket.listeners.append(changed)

    def _add_role(self, kind: str, namespace: str, name: str, role: Object) -> None:
        self._roles[kind, namespace, name] = tuple(map(Rule.parse, role.get("rules") or ()))

    def _binding_changed(self, event: Event) -> None:
        self._decisions.clear()
        entry = event.entry
        key = (entry.namespace, entry.name)
        for subject in self._bound.pop(key, ()):
            del self._grants[subject][key]
            if not self._grants[subject]:
                del self._grants[subject]
        if event.type is not EventType.DELETED:
            self._add_binding(entry.namespace, entry.name, entry.object())

    def _add_binding(self, namespace: str, name: str, binding: Object) -> None:
        key = (namespace, name)
        role = binding["roleRef"]
        found: dict[_Subject, Grant] = {}
        for subject in binding.get("subjects") or ():
            kind, who = subject["kind"], subject["name"]
            if kind == "ServiceAccount":
                who = f"{SERVICE_ACCOUNT_PREFIX}{subject.get('namespace', namespace)}:{who}"
            target = ("Group" if kind == "Group" else "User", who)
            found[target] = Grant(name, namespace, role["kind"], role["name"], kind, who)
        for target, grant in found.items():
            self._grants.setdefault(target, {})[key] = grant
        self._bound[key] = tuple(found)

    def role_rules(self, kind: str, namespace: str, name: str) -> tuple[Rule, ...] | None:
        """The rules of a role; None when there is no such role."""
        return self._roles.get((kind, namespace if kind == "Role" else "", name))

    def grants(self, user: User, namespace: str) -> Iterator[tuple[Grant, tuple[Rule, ...]]]:
        """What reaches `user`: cluster-wide bindings, and those of `namespace` where one is given."""
        for subject in (("User", user.name), *(("Group", group) for group in user.groups)):
            for grant in self._grants.get(subject, {}).values():
                if not grant.namespace or grant.namespace == namespace:
                    rules = self.role_rules(grant.role_kind, grant.namespace, grant.role)
                    if rules:
                        yield grant, rules

    def rules(self, user: User, namespace: str) -> list[Rule]:
        """All rules that reach `user` in `namespace` (or cluster-wide where it is empty)."""
        if MASTERS in user.groups:
            everything = frozenset("*")
            return [Rule(everything, everything, everything), Rule(everything, paths=everything)]
        return [rule for _, rules in self.grants(user, namespace) for rule in rules]

    def decide(self, user: User, asked: Attributes) -> tuple[bool, str]:
        """Whether `user` may, and why."""
        if MASTERS in user.groups:
            return True, ""
        key = (user.name, user.groups, asked)
        if key in self._decisions:
            reason = self._decisions[key]
        else:
            if len(self._decisions) >= _CACHE_SIZE:
                self._decisions.clear()
            reason = self._decisions[key] = self._find(user, asked)
        return reason is not None, reason or ""

    def _find(self, user: User, asked: Attributes) -> str | None:
        for grant, rules in sorted(self.grants(user, asked.namespace), key=lambda found: bool(found[0].namespace)):
            if any(rule.allows(asked) for rule in rules):
                return grant.reason
        return None

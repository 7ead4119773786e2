"""Policy rules: what one allows, and whether a set of them covers another.

Semantics after k8s.io/component-helpers/auth/rbac/validation and the RBAC documentation of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

Object = Mapping[str, Any]


class Attributes(NamedTuple):
    """What is asked: a verb on a resource, or (where `path` is set) on a path that is no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        """`pods`, `pods/log`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Rule(NamedTuple):
    """One policy rule of a role."""

    verbs: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, rule: Object) -> Rule:
        """Read the `PolicyRule` of a role."""
        return cls(
            frozenset(rule.get("verbs") or ()),
            frozenset(rule.get("apiGroups") or ()),
            frozenset(rule.get("resources") or ()),
            frozenset(rule.get("resourceNames") or ()),
            frozenset(rule.get("nonResourceURLs") or ()),
        )

    def allows(self, asked: Attributes) -> bool:
        """Whether this rule alone allows what is asked."""
        if asked.verb not in self.verbs and "*" not in self.verbs:
            return False
        if asked.path:
            return any(_path_matches(pattern, asked.path) for pattern in self.paths)
        if asked.group not in self.groups and "*" not in self.groups:
            return False
        if not self._has_resource(asked.resource, asked.subresource):
            return False
        return not self.names or asked.name in self.names

    def _has_resource(self, resource: str, subresource: str) -> bool:
        resources = self.resources
        if "*" in resources:
            return True
        if not subresource:
            return resource in resources
        return f"{resource}/{subresource}" in resources or f"*/{subresource}" in resources

    def parts(self) -> Iterator[Rule]:
        """The same as single rules of one verb, group, resource and name each."""
        for verb in self.verbs:
            verbs = frozenset((verb,))
            for path in self.paths:
                yield Rule(verbs, paths=frozenset((path,)))
            for group, resource in product(self.groups, self.resources):
                one = Rule(verbs, frozenset((group,)), frozenset((resource,)))
                if self.names:
                    for name in self.names:
                        yield one._replace(names=frozenset((name,)))
                else:
                    yield one

    def covers(self, part: Rule) -> bool:
        """Whether this rule grants all that a rule from `parts` does."""
        if "*" not in self.verbs and not part.verbs <= self.verbs:
            return False
        if part.paths:
            return all(any(_path_covers(mine, path) for mine in self.paths) for path in part.paths)
        if "*" not in self.groups and not part.groups <= self.groups:
            return False
        if self.names and not (part.names and part.names <= self.names):
            return False
        for resource in part.resources:
            name, _, subresource = resource.partition("/")
            if resource not in self.resources and not self._has_resource(name, subresource):
                return False
        return bool(self.resources)

    def to_object(self) -> dict[str, Any]:
        """The rule as a `PolicyRule`, sorted."""
        listed = {
            "verbs": self.verbs,
            "apiGroups": self.groups,
            "resources": self.resources,
            "resourceNames": self.names,
            "nonResourceURLs": self.paths,
        }
        return {key: sorted(values) for key, values in listed.items() if values}


def _path_matches(pattern: str, path: str) -> bool:
    if pattern == "*" or pattern == path:
        return True
    return pattern.endswith("*") and path.startswith(pattern.rstrip("*"))


def _path_covers(mine: str, other: str) -> bool:
    if mine in ("*", other):
        return True
    return mine.endswith("*") and other.startswith(mine.rstrip("*"))


def uncovered(owned: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The single rules of `wanted` that `owned` does not grant."""
    return [part for rule in wanted for part in rule.parts() if not any(mine.covers(part) for mine in owned)]

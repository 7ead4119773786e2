"""Roles and bindings (rbac.authorization.k8s.io/v1) and custom resource definitions (apiextensions.k8s.io/v1)."""

from __future__ import annotations

import msgspec

from wherry.kube.objects.base import Condition, KubeObject, LabelSelector, Model


class PolicyRule(Model):
    """Verbs on resources or on plain URLs."""

    verbs: tuple[str, ...] | None = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = ()


class Role(KubeObject):
    """Rules inside one namespace."""

    rules: tuple[PolicyRule, ...] | None = ()


class AggregationRule(Model):
    """Selectors of the cluster roles whose rules are gathered."""

    cluster_role_selectors: tuple[LabelSelector, ...] = ()


class ClusterRole(KubeObject):
    """Rules for the whole cluster."""

    rules: tuple[PolicyRule, ...] | None = ()
    aggregation_rule: AggregationRule | None = None


class Subject(Model):
    """A user, group or service account."""

    kind: str
    name: str
    api_group: str = ""
    namespace: str = ""


class RoleRef(Model):
    """The role a binding grants."""

    kind: str = ""
    name: str = ""
    api_group: str = ""


class RoleBinding(KubeObject):
    """Grants a role inside one namespace."""

    subjects: tuple[Subject, ...] | None = ()
    role_ref: RoleRef = RoleRef()


class ClusterRoleBinding(KubeObject):
    """Grants a cluster role everywhere."""

    subjects: tuple[Subject, ...] | None = ()
    role_ref: RoleRef = RoleRef()


class CustomResourceDefinitionNames(Model):
    """Names of a custom kind."""

    plural: str = ""
    singular: str = ""
    kind: str = ""
    list_kind: str = ""
    short_names: tuple[str, ...] | None = ()
    categories: tuple[str, ...] | None = ()


class CustomResourceValidation(Model):
    """The structural schema, left undecoded."""

    open_api_v3_schema: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"null"), name="openAPIV3Schema")


class CustomResourceDefinitionVersion(Model):
    """One version of a custom kind."""

    name: str
    served: bool = False
    storage: bool = False
    schema: CustomResourceValidation | None = None


class CustomResourceDefinitionSpec(Model):
    """Group, names, scope and versions."""

    group: str = ""
    names: CustomResourceDefinitionNames = CustomResourceDefinitionNames()
    scope: str = ""
    versions: tuple[CustomResourceDefinitionVersion, ...] | None = ()


class CustomResourceDefinitionStatus(Model):
    """Accepted names and conditions (``Established``, ``NamesAccepted``)."""

    conditions: tuple[Condition, ...] | None = ()
    accepted_names: CustomResourceDefinitionNames = CustomResourceDefinitionNames()
    stored_versions: tuple[str, ...] | None = ()


class CustomResourceDefinition(KubeObject):
    """A custom kind."""

    spec: CustomResourceDefinitionSpec = CustomResourceDefinitionSpec()
    status: CustomResourceDefinitionStatus = CustomResourceDefinitionStatus()

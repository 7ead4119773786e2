"""The roles and bindings every cluster begins with, as data.

They follow the default roles of Kubernetes (page "Using RBAC Authorization", part "Default roles and role bindings").
Two differ, because one process runs all controllers here and nodes authenticate by certificate alone: `system:node` and
`system:node-proxier` are bound to the group of all nodes (what a node may touch is narrowed further by the write
guards), and `system:kube-controller-manager` holds the rights of the single controllers, too.
"""

from __future__ import annotations

from typing import Any

GROUP = "rbac.authorization.k8s.io"
API_VERSION = f"{GROUP}/v1"
DEFAULTS_LABEL = {"kubernetes.io/bootstrapping": "rbac-defaults"}
AUTOUPDATE = {f"{GROUP.partition('.')[0]}.authorization.kubernetes.io/autoupdate": "true"}

Object = dict[str, Any]

_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_ALL = "create delete deletecollection get list patch update watch"


def rule(verbs: str, groups: str, resources: str, names: str = "") -> Object:
    """A resource rule from words; the core group is written `core`."""
    found: Object = {
        "verbs": verbs.split(),
        "apiGroups": ["" if group == "core" else group for group in groups.split()],
        "resources": resources.split(),
    }
    if names:
        found["resourceNames"] = names.split()
    return found


def paths(verbs: str, urls: str) -> Object:
    """A rule about paths that are no resources."""
    return {"verbs": verbs.split(), "nonResourceURLs": urls.split()}


_EVENTS = rule("create patch update", "core events.k8s.io", "events")

_EDIT_CORE = "pods pods/attach pods/exec pods/portforward pods/proxy"
_EDIT_WORKLOADS = (
    "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets "
    "statefulsets/scale"
)
_EDIT_OBJECTS = (
    "configmaps persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts "
    "services services/proxy"
)

_AGGREGATE_EDIT = [
    rule(_READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    rule("impersonate", "core", "serviceaccounts"),
    rule(_WRITE, "core", _EDIT_CORE),
    rule("create", "core", "pods/eviction"),
    rule(_WRITE, "core", _EDIT_OBJECTS),
    rule("create", "core", "serviceaccounts/token"),
    rule(_WRITE, "apps", _EDIT_WORKLOADS),
    rule(_WRITE, "autoscaling", "horizontalpodautoscalers"),
    rule(_WRITE, "batch", "cronjobs jobs"),
    rule(_WRITE, "policy", "poddisruptionbudgets"),
    rule(_WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    rule(_ALL, "coordination.k8s.io", "leases"),
]

_AGGREGATE_VIEW = [
    rule(
        _READ,
        "core",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
        "replicationcontrollers/scale serviceaccounts services services/status",
    ),
    rule(
        _READ,
        "core",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
        "resourcequotas resourcequotas/status",
    ),
    rule(_READ, "core", "namespaces"),
    rule(_READ, "discovery.k8s.io", "endpointslices"),
    rule(
        _READ,
        "apps",
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
        "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
    ),
    rule(_READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    rule(_READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    rule(_READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    rule(_READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
]

_AGGREGATE_ADMIN = [
    rule("create", "authorization.k8s.io", "localsubjectaccessreviews"),
    rule(_ALL, GROUP, "rolebindings roles"),
]

_NODE = [
    rule("create", "authentication.k8s.io", "tokenreviews"),
    rule("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
    rule(_READ, "core", "services"),
    rule("create get list watch", "core", "nodes"),
    rule("patch update", "core", "nodes/status"),
    rule("patch update", "core", "nodes"),
    rule("delete", "core", "nodes"),
    rule("create patch update", "core events.k8s.io", "events"),
    rule(_READ, "core", "pods"),
    rule("create delete", "core", "pods"),
    rule("patch update", "core", "pods/status"),
    rule("create", "core", "pods/eviction"),
    rule(_READ, "core", "configmaps secrets"),
    rule(_READ, "core", "persistentvolumeclaims persistentvolumes"),
    # To take the finalizer off a local volume whose data was removed.
    rule("patch", "core", "persistentvolumes"),
    rule("get", "core", "endpoints"),
    rule("create", "core", "serviceaccounts/token"),
    rule("create get patch update list watch delete", "coordination.k8s.io", "leases"),
    rule(_READ, "node.k8s.io", "runtimeclasses"),
    rule(_READ, "core", "serviceaccounts"),
]

_NODE_PROXIER = [
    rule("list watch", "core", "endpoints services"),
    rule(_READ, "core", "nodes"),
    _EVENTS,
    rule("list watch", "discovery.k8s.io", "endpointslices"),
    rule("list watch", "networking.k8s.io", "networkpolicies servicecidrs"),
    rule("list watch", "core", "namespaces"),
]

_SCHEDULER = [
    _EVENTS,
    rule("create", "coordination.k8s.io", "leases"),
    rule("get list update watch", "coordination.k8s.io", "leases", "kube-scheduler"),
    rule(_READ, "core", "nodes"),
    rule("delete get list watch", "core", "pods"),
    rule("create", "core", "bindings pods/binding"),
    rule("patch update", "core", "pods/status"),
    rule(_READ, "core", "replicationcontrollers services namespaces persistentvolumeclaims persistentvolumes"),
    rule(_READ, "apps", "replicasets statefulsets"),
    rule(_READ, "policy", "poddisruptionbudgets"),
    rule(_READ, "scheduling.k8s.io", "priorityclasses"),
    rule(_READ, "storage.k8s.io", "csidrivers csinodes csistoragecapacities storageclasses volumeattachments"),
    rule("create", "authentication.k8s.io", "tokenreviews"),
    rule("create", "authorization.k8s.io", "subjectaccessreviews"),
]

_CONTROLLER_MANAGER = [
    _EVENTS,
    rule(_ALL, "coordination.k8s.io", "leases"),
    rule(_READ, "*", "*"),
    # Garbage collection and the emptying of namespaces reach every kind, also those that come with definitions.
    rule("delete deletecollection patch update", "*", "*"),
    rule("create", "core", "configmaps secrets serviceaccounts serviceaccounts/token pods pods/binding bindings"),
    rule("create", "core", "pods/eviction endpoints namespaces persistentvolumeclaims nodes services"),
    rule("create", "apps", "controllerrevisions daemonsets replicasets"),
    rule("create", "batch", "jobs"),
    rule("create", "core", "persistentvolumes"),
    rule("create", "storage.k8s.io", "storageclasses"),
    rule("create", "discovery.k8s.io", "endpointslices"),
    rule("update", "core", "namespaces/finalize namespaces/status"),
    rule("create", "authentication.k8s.io", "tokenreviews"),
    rule("create", "authorization.k8s.io", "subjectaccessreviews"),
    paths("get", "*"),
]

_DISCOVERY_URLS = "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/"
_INFO_URLS = "/healthz /livez /readyz /version /version/"

_ROLES: dict[str, list[Object]] = {
    "cluster-admin": [rule("*", "*", "*"), paths("*", "*")],
    "system:discovery": [paths("get", _DISCOVERY_URLS)],
    "system:public-info-viewer": [paths("get", _INFO_URLS)],
    "system:basic-user": [
        rule("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        rule("create", "authentication.k8s.io", "selfsubjectreviews"),
    ],
    "system:auth-delegator": [
        rule("create", "authentication.k8s.io", "tokenreviews"),
        rule("create", "authorization.k8s.io", "subjectaccessreviews"),
    ],
    "system:monitoring": [paths("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*")],
    "system:service-account-issuer-discovery": [paths("get", "/.well-known/openid-configuration /openid/v1/jwks")],
    "system:node": _NODE,
    "system:node-proxier": _NODE_PROXIER,
    "system:kube-scheduler": _SCHEDULER,
    "system:kube-controller-manager": _CONTROLLER_MANAGER,
    "system:kube-dns": [rule("list watch", "core", "endpoints services")],
    "system:kubelet-api-admin": [
        rule(_READ, "core", "nodes"),
        rule("proxy", "core", "nodes"),
        rule("*", "core", "nodes/log nodes/metrics nodes/proxy nodes/stats"),
    ],
    "system:persistent-volume-provisioner": [
        rule("create delete get list watch", "core", "persistentvolumes"),
        rule("get list update watch", "core", "persistentvolumeclaims"),
        rule(_READ, "storage.k8s.io", "storageclasses"),
        rule("watch", "core", "events"),
        rule("create patch update", "core events.k8s.io", "events"),
    ],
}

# Roles whose rules are gathered from others by label, and the parts they are gathered from.
_AGGREGATED = {"admin": ("admin",), "edit": ("edit",), "view": ("view",)}
_PARTS: dict[str, tuple[str, list[Object]]] = {
    "system:aggregate-to-admin": ("admin", _AGGREGATE_ADMIN),
    "system:aggregate-to-edit": ("edit", _AGGREGATE_EDIT),
    "system:aggregate-to-view": ("view", _AGGREGATE_VIEW),
    # As the metrics server brings it along.
    "system:aggregated-metrics-reader": ("view", [rule(_READ, "metrics.k8s.io", "nodes pods")]),
}
# What may be edited may be administered, and so on.
_CHAIN = {"edit": "admin", "view": "edit"}

_BINDINGS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "cluster-admin": ("cluster-admin", (("Group", "system:masters"),)),
    "system:discovery": ("system:discovery", (("Group", "system:authenticated"),)),
    "system:basic-user": ("system:basic-user", (("Group", "system:authenticated"),)),
    "system:public-info-viewer": (
        "system:public-info-viewer",
        (("Group", "system:authenticated"), ("Group", "system:unauthenticated")),
    ),
    "system:monitoring": ("system:monitoring", (("Group", "system:monitoring"),)),
    "system:service-account-issuer-discovery": (
        "system:service-account-issuer-discovery",
        (("Group", "system:serviceaccounts"),),
    ),
    "system:node": ("system:node", (("Group", "system:nodes"),)),
    "system:node-proxier": ("system:node-proxier", (("User", "system:kube-proxy"), ("Group", "system:nodes"))),
    "system:kube-scheduler": ("system:kube-scheduler", (("User", "system:kube-scheduler"),)),
    "system:kube-controller-manager": (
        "system:kube-controller-manager",
        (("User", "system:kube-controller-manager"),),
    ),
}


def _aggregation_label(to: str) -> str:
    return f"{GROUP.partition('.')[0]}.authorization.k8s.io/aggregate-to-{to}"


def cluster_roles() -> list[Object]:
    """The ClusterRoles; aggregated ones come without rules, which are gathered by the server."""
    found: list[Object] = []
    for name, rules in _ROLES.items():
        found.append({"metadata": _metadata(name), "rules": rules})
    for name, (to, rules) in _PARTS.items():
        found.append({"metadata": _metadata(name, {_aggregation_label(to): "true"}), "rules": rules})
    for name, sources in _AGGREGATED.items():
        labels = {_aggregation_label(_CHAIN[name]): "true"} if name in _CHAIN else {}
        selectors = [{"matchLabels": {_aggregation_label(to): "true"}} for to in sources]
        aggregation = {"clusterRoleSelectors": selectors}
        found.append({"metadata": _metadata(name, labels), "aggregationRule": aggregation, "rules": []})
    return found


def cluster_role_bindings() -> list[Object]:
    """The ClusterRoleBindings."""
    return [
        {
            "metadata": _metadata(name),
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": GROUP, "kind": kind, "name": subject} for kind, subject in subjects],
        }
        for name, (role, subjects) in _BINDINGS.items()
    ]


def _metadata(name: str, labels: dict[str, str] | None = None) -> Object:
    return {"name": name, "labels": {**DEFAULTS_LABEL, **(labels or {})}, "annotations": dict(AUTOUPDATE)}

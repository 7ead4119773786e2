"""All built-in rows, in the order of discovery."""

from __future__ import annotations

from wherry.apiserver.kinds.apps.daemonsets import DAEMON_SETS
from wherry.apiserver.kinds.apps.deployments import DEPLOYMENTS
from wherry.apiserver.kinds.apps.replicasets import REPLICA_SETS, REPLICATION_CONTROLLERS
from wherry.apiserver.kinds.apps.revisions import CONTROLLER_REVISIONS, POD_TEMPLATES
from wherry.apiserver.kinds.apps.statefulsets import STATEFUL_SETS
from wherry.apiserver.kinds.autoscaling.rows import HORIZONTAL_POD_AUTOSCALERS, HORIZONTAL_POD_AUTOSCALERS_V1
from wherry.apiserver.kinds.batch.cronjobs import CRON_JOBS
from wherry.apiserver.kinds.batch.jobs import JOBS
from wherry.apiserver.kinds.control.apiservices import API_SERVICES
from wherry.apiserver.kinds.control.certificates import SIGNING_REQUESTS
from wherry.apiserver.kinds.control.flow import FLOW_SCHEMAS, PRIORITY_LEVELS
from wherry.apiserver.kinds.control.policies import ADMISSION_POLICIES, ADMISSION_POLICY_BINDINGS
from wherry.apiserver.kinds.control.webhooks import MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS
from wherry.apiserver.kinds.core.accounts import SERVICE_ACCOUNTS
from wherry.apiserver.kinds.core.config import CONFIG_MAPS, SECRETS
from wherry.apiserver.kinds.core.endpoints import ENDPOINT_SLICES, ENDPOINTS
from wherry.apiserver.kinds.core.events import EVENTS, EVENTS_V1
from wherry.apiserver.kinds.core.leases import LEASES
from wherry.apiserver.kinds.core.namespaces import NAMESPACES
from wherry.apiserver.kinds.core.nodes import NODES
from wherry.apiserver.kinds.core.pods import BINDINGS, PODS
from wherry.apiserver.kinds.core.rbac import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from wherry.apiserver.kinds.core.reviews import REVIEWS
from wherry.apiserver.kinds.extensions.crds import CUSTOM_RESOURCE_DEFINITIONS
from wherry.apiserver.kinds.model import Resource
from wherry.apiserver.kinds.network.ingresses import INGRESS_CLASSES, INGRESSES
from wherry.apiserver.kinds.network.policies import NETWORK_POLICIES
from wherry.apiserver.kinds.policy.budgets import POD_DISRUPTION_BUDGETS
from wherry.apiserver.kinds.policy.classes import PRIORITY_CLASSES, RUNTIME_CLASSES
from wherry.apiserver.kinds.policy.limits import LIMIT_RANGES
from wherry.apiserver.kinds.policy.quotas import RESOURCE_QUOTAS
from wherry.apiserver.kinds.services.row import SERVICES
from wherry.apiserver.kinds.storage.claims import PERSISTENT_VOLUME_CLAIMS
from wherry.apiserver.kinds.storage.classes import STORAGE_CLASSES
from wherry.apiserver.kinds.storage.csi import CSI_DRIVERS, CSI_NODES, CSI_STORAGE_CAPACITIES, VOLUME_ATTACHMENTS
from wherry.apiserver.kinds.storage.volumes import PERSISTENT_VOLUMES

_ROWS = (
    BINDINGS,
    CONFIG_MAPS,
    ENDPOINTS,
    EVENTS,
    LIMIT_RANGES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    POD_TEMPLATES,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    DEPLOYMENTS,
    REPLICA_SETS,
    STATEFUL_SETS,
    EVENTS_V1,
    HORIZONTAL_POD_AUTOSCALERS,
    HORIZONTAL_POD_AUTOSCALERS_V1,
    CRON_JOBS,
    JOBS,
    INGRESSES,
    INGRESS_CLASSES,
    NETWORK_POLICIES,
    POD_DISRUPTION_BUDGETS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    CUSTOM_RESOURCE_DEFINITIONS,
    PRIORITY_CLASSES,
    LEASES,
    RUNTIME_CLASSES,
    ENDPOINT_SLICES,
    ADMISSION_POLICIES,
    ADMISSION_POLICY_BINDINGS,
    MUTATING_WEBHOOKS,
    VALIDATING_WEBHOOKS,
    API_SERVICES,
    SIGNING_REQUESTS,
    FLOW_SCHEMAS,
    PRIORITY_LEVELS,
    *REVIEWS,
)


def builtin_resources() -> tuple[Resource, ...]:
    """Every built-in kind, each once."""
    return _ROWS

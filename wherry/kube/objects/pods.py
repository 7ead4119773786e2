"""Pods: specification, volumes, scheduling constraints and status (core/v1)."""

from __future__ import annotations

import msgspec

from wherry.kube.objects.base import Condition, KubeObject, LabelSelector, Model, ObjectMeta, Quantity
from wherry.kube.objects.containers import (
    AppArmorProfile,
    Container,
    ContainerStatus,
    EphemeralContainer,
    ObjectFieldSelector,
    ResourceFieldSelector,
    ResourceRequirements,
    SeccompProfile,
)

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


class KeyToPath(Model):
    """A key projected to a file; ``mode`` in permission bits."""

    key: str
    path: str
    mode: int | None = None


class EmptyDirVolume(Model):
    """A directory that lives as long as the pod; medium ``Memory`` is a tmpfs."""

    medium: str = ""
    size_limit: Quantity | None = None


class HostPathVolume(Model):
    """A path of the node."""

    path: str
    type: str = ""


class ConfigMapVolume(Model):
    """Files from a ConfigMap."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool = False


class SecretVolume(Model):
    """Files from a Secret."""

    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool = False


class DownwardAPIFile(Model):
    """A file with a field of the pod in it."""

    path: str
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    mode: int | None = None


class DownwardAPIVolume(Model):
    """Files with fields of the pod."""

    items: tuple[DownwardAPIFile, ...] = ()
    default_mode: int | None = None


class ConfigMapProjection(Model):
    """A ConfigMap inside a projected volume."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False


class SecretProjection(Model):
    """A Secret inside a projected volume."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False


class DownwardAPIProjection(Model):
    """Pod fields inside a projected volume."""

    items: tuple[DownwardAPIFile, ...] = ()


class ServiceAccountTokenProjection(Model):
    """A token of the pod's service account, renewed before it expires."""

    path: str
    audience: str = ""
    expiration_seconds: int = 3600


class VolumeProjection(Model):
    """One source of a projected volume; exactly one is set."""

    config_map: ConfigMapProjection | None = None
    secret: SecretProjection | None = None
    downward_api: DownwardAPIProjection | None = None
    service_account_token: ServiceAccountTokenProjection | None = None


class ProjectedVolume(Model):
    """Several sources in one directory."""

    sources: tuple[VolumeProjection, ...] | None = None
    default_mode: int | None = None


class PersistentVolumeClaimVolume(Model):
    """A claim; named so that a pod that needs one can say so."""

    claim_name: str
    read_only: bool = False


class Foreign(Model):
    """A source of a volume that is only recognised, so that a pod that needs one can be told."""


class CSIVolume(Model):
    """A volume of a storage driver."""

    driver: str = ""


class ImageVolume(Model):
    """The files of an image."""

    reference: str = ""


class Volume(Model):
    """One volume of a pod; at most one source is known to us, none means an unsupported one."""

    name: str
    empty_dir: EmptyDirVolume | None = None
    host_path: HostPathVolume | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    downward_api: DownwardAPIVolume | None = None
    projected: ProjectedVolume | None = None
    persistent_volume_claim: PersistentVolumeClaimVolume | None = None
    ephemeral: Foreign | None = None
    """A claim of the pod's own, POD-VOLUME."""
    image: ImageVolume | None = None
    csi: CSIVolume | None = None
    nfs: Foreign | None = None
    iscsi: Foreign | None = None


class NodeSelectorRequirement(Model):
    """One expression over node labels or fields: In, NotIn, Exists, DoesNotExist, Gt, Lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class NodeSelectorTerm(Model):
    """Expressions that must all hold; an empty term matches nothing."""

    match_expressions: tuple[NodeSelectorRequirement, ...] = ()
    match_fields: tuple[NodeSelectorRequirement, ...] = ()


class NodeSelector(Model):
    """Terms of which one must hold."""

    node_selector_terms: tuple[NodeSelectorTerm, ...] = ()


class PreferredSchedulingTerm(Model):
    """A weighted wish (1–100)."""

    weight: int
    preference: NodeSelectorTerm = NodeSelectorTerm()


class NodeAffinity(Model):
    """Which nodes a pod must or would rather run on."""

    required: NodeSelector | None = msgspec.field(default=None, name=_REQUIRED)
    preferred: tuple[PreferredSchedulingTerm, ...] = msgspec.field(default=(), name=_PREFERRED)


class PodAffinityTerm(Model):
    """Pods to be near to or away from, by topology domain."""

    topology_key: str
    label_selector: LabelSelector | None = None
    namespaces: tuple[str, ...] = ()
    namespace_selector: LabelSelector | None = None
    match_label_keys: tuple[str, ...] = ()
    mismatch_label_keys: tuple[str, ...] = ()


class WeightedPodAffinityTerm(Model):
    """A weighted wish (1–100)."""

    weight: int
    pod_affinity_term: PodAffinityTerm


class PodAffinity(Model):
    """Affinity or anti-affinity between pods."""

    required: tuple[PodAffinityTerm, ...] = msgspec.field(default=(), name=_REQUIRED)
    preferred: tuple[WeightedPodAffinityTerm, ...] = msgspec.field(default=(), name=_PREFERRED)


class Affinity(Model):
    """All scheduling affinities of a pod."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class Toleration(Model):
    """A taint the pod puts up with; an empty key with ``Exists`` tolerates all."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class TopologySpreadConstraint(Model):
    """How evenly pods spread over topology domains."""

    max_skew: int
    topology_key: str
    when_unsatisfiable: str
    label_selector: LabelSelector | None = None
    min_domains: int | None = None
    node_affinity_policy: str | None = None
    node_taints_policy: str | None = None
    match_label_keys: tuple[str, ...] = ()


class Sysctl(Model):
    """A kernel parameter of the pod's namespaces."""

    name: str
    value: str


class PodSecurityContext(Model):
    """Security settings of all containers of a pod."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: tuple[int, ...] = ()
    supplemental_groups_policy: str | None = None
    fs_group: int | None = None
    fs_group_change_policy: str | None = None
    sysctls: tuple[Sysctl, ...] = ()
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None


class PodDNSConfigOption(Model):
    """An option of resolv.conf."""

    name: str
    value: str | None = None


class PodDNSConfig(Model):
    """What is added to the resolv.conf that the DNS policy makes."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[PodDNSConfigOption, ...] = ()


class HostAlias(Model):
    """A line of /etc/hosts."""

    ip: str
    hostnames: tuple[str, ...] = ()


class PodReadinessGate(Model):
    """A condition that must be true before the pod is ready."""

    condition_type: str


class PodSchedulingGate(Model):
    """While present the pod is not scheduled."""

    name: str


class PodSpec(Model):
    """What a pod shall run, where and how."""

    containers: tuple[Container, ...] | None = ()
    init_containers: tuple[Container, ...] = ()
    ephemeral_containers: tuple[EphemeralContainer, ...] = ()
    volumes: tuple[Volume, ...] = ()
    restart_policy: str = "Always"
    termination_grace_period_seconds: int | None = None
    active_deadline_seconds: int | None = None
    dns_policy: str = "ClusterFirst"
    dns_config: PodDNSConfig | None = None
    node_selector: dict[str, str] = msgspec.field(default_factory=dict)
    service_account_name: str = ""
    automount_service_account_token: bool | None = None
    node_name: str = ""
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    host_users: bool | None = None
    share_process_namespace: bool = False
    security_context: PodSecurityContext | None = None
    hostname: str = ""
    hostname_override: str | None = None
    subdomain: str = ""
    set_hostname_as_fqdn: bool = msgspec.field(default=False, name="setHostnameAsFQDN")
    affinity: Affinity | None = None
    scheduler_name: str = "default-scheduler"
    tolerations: tuple[Toleration, ...] = ()
    host_aliases: tuple[HostAlias, ...] = ()
    priority_class_name: str = ""
    priority: int | None = None
    preemption_policy: str | None = None
    readiness_gates: tuple[PodReadinessGate, ...] = ()
    scheduling_gates: tuple[PodSchedulingGate, ...] = ()
    runtime_class_name: str | None = None
    enable_service_links: bool = True
    overhead: dict[str, Quantity] = msgspec.field(default_factory=dict)
    resources: ResourceRequirements | None = None
    topology_spread_constraints: tuple[TopologySpreadConstraint, ...] = ()

    @property
    def every_container(self) -> tuple[Container, ...]:
        """Init, main and ephemeral containers; a name occurs once among them."""
        return (*self.init_containers, *(self.containers or ()), *self.ephemeral_containers)


class PodIP(Model):
    """One address of a pod."""

    ip: str


class HostIP(Model):
    """One address of the pod's node."""

    ip: str


class PodStatus(Model):
    """What the kubelet and the scheduler report of a pod."""

    phase: str = ""
    conditions: tuple[Condition, ...] = ()
    message: str = ""
    reason: str = ""
    nominated_node_name: str = ""
    host_ip: str = ""
    host_ips: tuple[HostIP, ...] = ()
    pod_ip: str = ""
    pod_ips: tuple[PodIP, ...] = ()
    start_time: str | None = None
    qos_class: str = ""
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    ephemeral_container_statuses: tuple[ContainerStatus, ...] = ()
    observed_generation: int = 0

    def condition(self, type_: str) -> Condition | None:
        """The condition of that type, if reported."""
        return next((condition for condition in self.conditions if condition.type == type_), None)


class Pod(KubeObject):
    """A pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def finished(self) -> bool:
        """Whether all containers have ended for good (phase Succeeded or Failed)."""
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def ready(self) -> bool:
        """Whether condition ``Ready`` is true."""
        condition = self.status.condition("Ready")
        return condition is not None and condition.status == "True"


class PodTemplateSpec(Model):
    """The pod a controller makes."""

    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()

"""Containers of a pod: image, ports, environment, probes, resources and security (core/v1)."""

from __future__ import annotations

import msgspec

from wherry.kube.objects.base import IntOrString, Model, Quantity


class ContainerPort(Model):
    """A declared port; ``protocol`` is TCP, UDP or SCTP."""

    container_port: int
    name: str = ""
    host_port: int = 0
    host_ip: str = ""
    protocol: str = "TCP"


class KeySelector(Model):
    """A key of a ConfigMap or Secret."""

    key: str
    name: str = ""
    optional: bool = False


class ObjectFieldSelector(Model):
    """A field of the pod, such as ``metadata.name`` or ``status.podIP``."""

    field_path: str
    api_version: str = "v1"


class ResourceFieldSelector(Model):
    """A resource limit or request of a container, divided by ``divisor``."""

    resource: str
    container_name: str = ""
    divisor: Quantity = "0"


class FileKeySelector(Model):
    """A variable in a file of environment variables in a volume (KEP-3721)."""

    key: str
    path: str
    volume_name: str
    optional: bool = False


class EnvVarSource(Model):
    """Where an environment variable takes its value from; exactly one is set."""

    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None
    file_key_ref: FileKeySelector | None = None


class EnvVar(Model):
    """One environment variable; ``$(NAME)`` in ``value`` refers to earlier ones."""

    name: str
    value: str = ""
    value_from: EnvVarSource | None = None


class EnvSource(Model):
    """A ConfigMap or Secret whose keys all become variables."""

    name: str = ""
    optional: bool = False


class EnvFromSource(Model):
    """All keys of one ConfigMap or Secret, with a prefix."""

    prefix: str = ""
    config_map_ref: EnvSource | None = None
    secret_ref: EnvSource | None = None


class VolumeMount(Model):
    """Where a volume of the pod appears in the container."""

    name: str
    mount_path: str
    sub_path: str = ""
    sub_path_expr: str = ""
    read_only: bool = False
    recursive_read_only: str | None = None
    mount_propagation: str = ""


class HttpHeader(Model):
    """A header of an HTTP probe."""

    name: str
    value: str = ""


class HttpGetAction(Model):
    """GET ``scheme://host:port/path``; the host defaults to the pod's address."""

    port: IntOrString
    path: str = ""
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HttpHeader, ...] = ()


class TcpSocketAction(Model):
    """Open a TCP connection."""

    port: IntOrString
    host: str = ""


class ExecAction(Model):
    """Run a command inside the container."""

    command: tuple[str, ...] = ()


class GrpcAction(Model):
    """Ask the gRPC health service."""

    port: int
    service: str | None = None


class SleepAction(Model):
    """Wait this many seconds."""

    seconds: int


class Probe(Model):
    """A periodic check; times in seconds."""

    http_get: HttpGetAction | None = None
    tcp_socket: TcpSocketAction | None = None
    exec: ExecAction | None = None
    grpc: GrpcAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class LifecycleHandler(Model):
    """What a lifecycle hook does; exactly one is set."""

    http_get: HttpGetAction | None = None
    tcp_socket: TcpSocketAction | None = None
    exec: ExecAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(Model):
    """Hooks around start and stop of a container; ``stop_signal`` is sent instead of SIGTERM."""

    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None
    stop_signal: str | None = None


class RestartRuleExitCodes(Model):
    """Which exit codes a restart rule is about; ``operator`` is In or NotIn."""

    operator: str = ""
    values: tuple[int, ...] = ()


class ContainerRestartRule(Model):
    """What to do when a container ends with certain exit codes (KEP-5307): Restart or RestartAllContainers."""

    action: str = ""
    exit_codes: RestartRuleExitCodes | None = None


class ResourceRequirements(Model):
    """Limits and requests by resource name."""

    limits: dict[str, Quantity] = msgspec.field(default_factory=dict)
    requests: dict[str, Quantity] = msgspec.field(default_factory=dict)


class Capabilities(Model):
    """Linux capabilities to add to or drop from the default set, without the ``CAP_`` prefix."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SeccompProfile(Model):
    """A system call filter: RuntimeDefault, Unconfined or Localhost."""

    type: str = ""
    localhost_profile: str | None = None


class AppArmorProfile(Model):
    """An AppArmor profile: RuntimeDefault, Unconfined or Localhost."""

    type: str = ""
    localhost_profile: str | None = None


class SecurityContext(Model):
    """Security settings of one container; unset fields fall back to the pod's."""

    capabilities: Capabilities | None = None
    privileged: bool | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool | None = None
    proc_mount: str | None = None
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None


class Container(Model):
    """One container; init containers with ``restartPolicy: Always`` are sidecars."""

    name: str
    image: str = ""
    image_pull_policy: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    ports: tuple[ContainerPort, ...] = ()
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFromSource, ...] = ()
    resources: ResourceRequirements = ResourceRequirements()
    volume_mounts: tuple[VolumeMount, ...] = ()
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    termination_message_path: str = ""
    termination_message_policy: str = ""
    security_context: SecurityContext | None = None
    restart_policy: str | None = None
    restart_policy_rules: tuple[ContainerRestartRule, ...] = ()
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False


class EphemeralContainer(Container):
    """A container put into a running pod, to look into it."""

    target_container_name: str = ""
    """The container whose processes are to be seen; empty for none."""


class ContainerStateWaiting(Model):
    """Not running yet, or not any more."""

    reason: str = ""
    message: str = ""


class ContainerStateRunning(Model):
    """Running since."""

    started_at: str | None = None


class ContainerStateTerminated(Model):
    """Ended with an exit code."""

    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    container_id: str = ""


class ContainerState(Model):
    """Exactly one of the three is set; none means waiting."""

    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class VolumeMountStatus(Model):
    """A mount as the container has it."""

    name: str
    mount_path: str
    read_only: bool = False
    recursive_read_only: str | None = None


class LinuxContainerUser(Model):
    """As whom the first process of a container runs."""

    uid: int
    gid: int
    supplemental_groups: tuple[int, ...] = ()


class ContainerUser(Model):
    """The identity of a container, by operating system."""

    linux: LinuxContainerUser | None = None


class ContainerStatus(Model):
    """What the kubelet reports of one container."""

    name: str
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()
    ready: bool = False
    restart_count: int = 0
    image: str = ""
    image_id: str = ""
    container_id: str = ""
    started: bool | None = None
    allocated_resources: dict[str, Quantity] = msgspec.field(default_factory=dict)
    resources: ResourceRequirements | None = None
    volume_mounts: tuple[VolumeMountStatus, ...] = ()
    user: ContainerUser | None = None
    stop_signal: str | None = None

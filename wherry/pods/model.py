"""What the pod controller and the node's runtime process tell each other.

Everything here is plain data that travels over the runtime's unix socket as MessagePack. The pod controller decides
(image, ports, mounts, environment); the runtime only carries out. Times are Unix seconds as floats, paths are absolute
paths as the runtime process sees them unless a field says otherwise.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Protocol = Literal["TCP", "UDP", "SCTP"]
Phase = Literal["running", "exited"]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""``PATH`` of a container that sets none."""


class Port(Struct, frozen=True):
    """A port a stand-in listens on.

    ``optional`` ports (those only a probe names) are left out silently when another container of the pod has them;
    a declared port that is taken ends the container, as it would end a real server.
    """

    number: int
    protocol: Protocol = "TCP"
    optional: bool = False


class Behaviour(Struct, frozen=True, omit_defaults=True):
    """How a stand-in answers; `wherry.pods.standins` reads it from the pod's annotations."""

    tls: tuple[int, ...] = ()
    """TCP ports that speak TLS."""
    proxy_protocol: tuple[int, ...] = ()
    """TCP ports that read a PROXY header first."""
    delay: float = 0.0
    """Seconds between a request and its answer."""
    status: int = 200
    """Status of every answer; gRPC health is not serving from 400 on."""
    body: int | None = None
    """Bytes of every answer's body; None: as many as it takes to say what was asked."""
    certificate: str = ""
    """Certificate and key for ``tls``, PEM."""


class Mount(Struct, frozen=True):
    """``source`` (a path of the host) shown at ``target`` (a path of the container)."""

    source: str
    target: str
    read_only: bool = False
    sub_path: str = ""
    """Relative path below ``source``; a missing directory is made, leaving ``source`` through a link is refused."""


class Security(Struct, frozen=True):
    """The container's and pod's securityContext, as far as the runtime can honour it."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    groups: tuple[int, ...] = ()
    """supplementalGroups and fsGroup; only where the machine's user ids are available (not as an ordinary user)."""
    privileged: bool = False
    add_capabilities: tuple[str, ...] = ()
    """Names without ``CAP_``; ``ALL`` means every one the runtime has."""
    drop_capabilities: tuple[str, ...] = ()
    read_only_root: bool = False


class Termination(Struct, frozen=True):
    """Where the container leaves its last words, and where they are read."""

    path: str = "/dev/termination-log"
    file: str = ""
    """File of the host that is mounted at ``path``; made when missing. Empty: no termination message."""
    from_logs: bool = False
    """terminationMessagePolicy FallbackToLogsOnError."""


class ContainerSpec(Struct, frozen=True, omit_defaults=True):
    """One container as it is to be started; ``id`` is unique for every start (a restart is a new id)."""

    id: str
    pod_uid: str
    namespace: str
    pod: str
    name: str
    image: str
    node: str
    log_path: str
    """The CRI log file; its directory is made when missing."""
    netns: str | None = None
    """Path of the pod's network namespace; None: the node's own (hostNetwork)."""
    argv: tuple[str, ...] | None = None
    """Program and arguments; None makes the container a stand-in."""
    wanted_argv: tuple[str, ...] = ()
    """For a stand-in: ``command`` and ``args`` the manifest gives, which its log names and nobody runs."""
    env: dict[str, str] = {}
    cwd: str = ""
    """Working directory; empty means ``/``."""
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    """Volumes, the pod's /etc files and the image table's binds."""
    rootfs: str | None = None
    """Directory shown as ``/`` instead of the host's root (image table)."""
    ports: tuple[Port, ...] = ()
    """Stand-ins only."""
    behaviour: Behaviour = Behaviour()
    """Stand-ins only; may be changed while it runs."""
    ends: bool = False
    """A stand-in is done as soon as it is started: what it stands for does its work and ends."""
    security: Security = Security()
    termination: Termination = Termination()
    stdin: bool = False
    """Keep standard input open (a program that reads it waits); otherwise it is /dev/null."""
    stdin_once: bool = False
    """Standard input ends with the first client that attached to it."""
    tty: bool = False
    """Standard input, output and error are one terminal. A program's input is open then even without ``stdin``."""
    host_pid: bool = False
    share_pids: bool = False
    """The containers of its pod see one another's processes."""
    target: str = ""
    """Id of the container whose processes it sees as its own (an ephemeral container's target)."""
    stop_signal: str = ""
    """Name of the signal that asks it to end; empty means SIGTERM."""
    host_ipc: bool = False
    notes: tuple[str, ...] = ()
    """What of the manifest is known already not to be honoured, one sentence each; the state says it too."""


class User(Struct, frozen=True):
    """As whom a program was started, as it sees itself."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    """Its group among them, as a container runtime lists them."""


class ContainerState(Struct, frozen=True, omit_defaults=True):
    """What became of a container that was started. A start that fails is an exited container, with the reason."""

    id: str
    pod_uid: str
    name: str
    phase: Phase
    started_at: float
    stand_in: bool = False
    pid: int = 0
    """Process id (in the runtime's pid namespace) of the program, 0 for stand-ins and after the exit."""
    finished_at: float = 0.0
    exit_code: int = 0
    """As Kubernetes reports it: 128 + signal number for a killed program, 128 when it could not be started."""
    reason: str = ""
    """``Completed``, ``Error``, ``StartError`` or ``ContainerStatusUnknown``; empty while it runs."""
    message: str = ""
    """Termination message, or what kept the container from starting."""
    user: User | None = None
    """Of programs only."""
    notes: tuple[str, ...] = ()
    """What of the spec could not be honoured on this machine, one sentence each."""

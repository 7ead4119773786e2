"""The runtime process with real sockets, programs and signals."""

import asyncio
import os
import signal
import socket
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from wherry.kernel import netns
from wherry.kernel.testing import wait_for
from wherry.pods.model import ContainerSpec, Mount, Port, Security, Termination
from wherry.pods.runtime.__main__ import command
from wherry.pods.runtime.client import RuntimeClient, RuntimeRefused, RuntimeUnavailable, UnknownContainer
from wherry.pods.runtime.exec import ExecFailed
from wherry.pods.runtime.programs import find_programs
from wherry.pods.runtime.service import Settings

pytestmark = pytest.mark.netns


class Node:
    """A runtime process, a client and one pod's namespace."""

    def __init__(self, directory):
        self.directory = directory
        self.settings = Settings(
            socket="/run/wherry/r.sock",
            state_dir="/run/wherry/containers",
            programs=find_programs(hidden=("/usr/share/doc",)),
        )
        self.pod = "/run/netns/pod"
        self.client = RuntimeClient(self.settings.socket, programs=self.settings.programs)
        self.process = None

    def start_process(self):
        self.process = subprocess.Popen(command(self.settings))

    def end_process(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(10)

    def spec(self, name, **changes):
        base = {"id": name, "pod_uid": "u1", "namespace": "shop", "pod": "web-1", "name": name, "hostname": "web-1"}
        log = str(self.directory / "logs" / name / "0.log")
        return ContainerSpec(
            **{**base, "image": "example/web", "node": "node-1", "netns": self.pod, "log_path": log, **changes}
        )

    async def until(self, name, test):
        """The first state of a container that passes the test."""
        async with asyncio.timeout(10):
            async for state in self.client.events():
                if state.id == name and test(state):
                    return state
        raise AssertionError("the events ended")

    async def exited(self, name):
        return await self.until(name, lambda state: state.phase == "exited")

    async def run(self, name, *argv, **changes):
        """Run a program to its end; its state and what it wrote."""
        await self.client.start(self.spec(name, argv=argv, **changes))
        return await self.exited(name), self.log(name)

    def log(self, name):
        path = self.directory / "logs" / name / "0.log"
        entries = [line.split(" ", 3) for line in (path.read_text().splitlines() if path.exists() else [])]
        return "".join(text + ("\n" if tag == "F" else "") for _, _, tag, text in entries).splitlines()

    async def logged(self, name, text):
        """Wait until a container has written a line."""
        await asyncio.to_thread(wait_for, lambda: text in self.log(name), within=10)

    def connect(self, address, port, kind=socket.SOCK_STREAM):
        with netns.entered(self.pod):
            handle = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        try:
            handle.settimeout(5)
            handle.connect((address, port))
        except OSError:
            handle.close()
            raise
        return handle

    def ask(self, address, port, request=b"GET / HTTP/1.0\r\n\r\n"):
        with self.connect(address, port) as handle:
            handle.sendall(request)
            handle.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: handle.recv(65536), b"")).decode()


@asynccontextmanager
async def running(tmp_path):
    node = Node(tmp_path)
    netns.create(node.pod)
    node.start_process()
    try:
        async with asyncio.TaskGroup() as group:
            connection = group.create_task(node.client.run())
            await node.client.list()
            yield node
            connection.cancel()
    finally:
        if node.process.poll() is None:
            node.end_process()
        netns.remove(node.pod)


async def read_all(session):
    async def drain(read):
        return b"".join([piece async for piece in pieces(read)])

    async def pieces(read):
        while piece := await read():
            yield piece

    return await asyncio.gather(drain(session.read_stdout), drain(session.read_stderr))


async def read_until(session, end):
    out = b""
    while end not in out:
        piece = await session.read_stdout()
        assert piece, f"it ended after {out!r}"
        out += piece
    return out


async def test_a_stand_in_answers_on_both_families_and_logs(tmp_path):
    async with running(tmp_path) as node:
        state = await node.client.start(
            node.spec("web", ports=(Port(80), Port(53, "UDP")), wanted_argv=("/app", "--log level"))
        )
        assert (state.phase, state.stand_in, state.pid) == ("running", True, 0)
        for address in ("127.0.0.1", "::1"):
            assert "pod: shop/web-1\n" in await asyncio.to_thread(node.ask, address, 80)
            with node.connect(address, 53, socket.SOCK_DGRAM) as handle:
                handle.send(b"ping")
                assert await asyncio.to_thread(handle.recv, 100) == b"ping"
        assert await asyncio.to_thread(node.ask, "127.0.0.1", 80, b"hello\n") == "hello\n"
        await node.logged("web", "127.0.0.1 udp echo, 1 datagram, 4 bytes")
        lines = node.log("web")
        assert lines[:2] == ["stand-in for example/web, which is not in the image table", "not run: /app '--log level'"]
        assert any('"GET / HTTP/1.0" 200' in line and line.startswith("[::1]:") for line in lines)


async def test_udp_answers_come_from_the_address_that_was_asked(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("dns", ports=(Port(53, "UDP"),)))
        for address in ("127.0.0.9", "127.1.2.3"):
            # A connected socket drops answers from any other address.
            with node.connect(address, 53, socket.SOCK_DGRAM) as handle:
                handle.send(b"x")
                assert await asyncio.to_thread(handle.recv, 10) == b"x"


async def test_a_large_echo_to_a_slow_reader_loses_nothing(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("echo", ports=(Port(7),)))
        data = os.urandom(3_000_000)

        def exchange():
            with node.connect("127.0.0.1", 7) as handle:
                sent, got = 0, bytearray()
                handle.setblocking(False)
                while sent < len(data):
                    try:
                        sent += handle.send(b"\0" + data[1:] if not sent else data[sent:])
                    except BlockingIOError:
                        got += handle.recv(4096)  # only when nothing more fits
                handle.setblocking(True)
                handle.shutdown(socket.SHUT_WR)
                while piece := handle.recv(65536):
                    got += piece
                return bytes(got)

        assert await asyncio.to_thread(exchange) == b"\0" + data[1:]


async def test_keep_alive_and_a_request_in_pieces(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("web", ports=(Port(80),)))
        with node.connect("127.0.0.1", 80) as handle:
            for number in range(3):
                for piece in (b"GE", b"T /%d HT" % number, b"TP/1.1\r\n", b"\r\n"):
                    handle.send(piece)
                answer = await asyncio.to_thread(handle.recv, 65536)
                assert f"request: GET /{number} HTTP/1.1".encode() in answer


async def test_a_stopped_stand_in_is_gone_and_can_be_started_anew(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("a", ports=(Port(80),)))
        with node.connect("127.0.0.1", 80) as open_connection:
            state = await node.client.stop("a", grace=30)
            assert (state.phase, state.exit_code, state.reason) == ("exited", 0, "Completed")
            assert await asyncio.to_thread(open_connection.recv, 10) == b""
        with pytest.raises(ConnectionRefusedError):
            node.connect("127.0.0.1", 80)
        await node.client.start(node.spec("b", ports=(Port(80),)))
        assert "pod:" in await asyncio.to_thread(node.ask, "127.0.0.1", 80)
        assert (await node.client.stop("b", grace=0)).exit_code == 137


async def test_a_stopped_stand_in_answers_what_has_arrived(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("a", ports=(Port(80),)))
        waiting = [node.connect("127.0.0.1", 80) for _ in range(100)]
        for handle in waiting:
            handle.sendall(b"GET / HTTP/1.1\r\n\r\n")
        await node.client.stop("a", grace=30)
        for handle in waiting:
            with handle:
                assert handle.recv(65536).startswith(b"HTTP/1.1 200 OK")
                assert handle.recv(10) == b""


async def test_a_taken_port_ends_the_container_unless_only_a_probe_wants_it(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("a", ports=(Port(80),)))
        state = await node.client.start(node.spec("b", ports=(Port(81), Port(80))))
        assert (state.phase, state.exit_code) == ("exited", 1)
        assert state.message == "listen tcp :80: bind: Address already in use"
        with pytest.raises(ConnectionRefusedError):
            node.connect("127.0.0.1", 81)
        assert (await node.client.start(node.spec("c", ports=(Port(80, optional=True),)))).phase == "running"


async def test_a_program_sees_its_pod_and_nothing_else(tmp_path):
    (tmp_path / "volume" / "sub").mkdir(parents=True)
    (tmp_path / "volume" / "sub" / "file").write_text("from the volume")
    (tmp_path / "hosts").write_text("the pod's hosts")
    script = """
        hostname; pwd; echo $$; ls -A /tmp /run
        cat /etc/hosts; echo; cat /etc/wherry-test/config/file; echo
        echo made > /data/new; touch /etc/wherry-test/config/x 2>/dev/null || echo read-only
        touch /usr/x 2>/dev/null || echo root is read-only
        ls -A /usr/share/doc; env | sort; echo problem >&2; exit 3
    """
    async with running(tmp_path) as node:
        mounts = (
            Mount(str(tmp_path / "hosts"), "/etc/hosts"),
            Mount(str(tmp_path / "volume"), "/etc/wherry-test/config", read_only=True, sub_path="sub"),
            Mount(str(tmp_path / "volume"), "/data"),
        )
        state, lines = await node.run(
            "p", "sh", "-c", script, mounts=mounts, env={"GREETING": "good day", "LD_TEST": "1"}, cwd="/srv/app"
        )
        assert (state.exit_code, state.reason, state.pid) == (3, "Error", 0)
        assert "problem" in lines
        lines.remove("problem")  # the order of two streams is not kept
        assert lines == [
            *("web-1", "/srv/app", "1", "/run:", "", "/tmp:"),
            *("the pod's hosts", "from the volume", "read-only", "root is read-only"),
            *("GREETING=good day", "HOME=/root", "HOSTNAME=web-1", "LD_TEST=1"),
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PWD=/srv/app",
        ]
        assert (tmp_path / "volume" / "new").read_text() == "made\n"


async def test_signals_and_exit_codes(tmp_path):
    async with running(tmp_path) as node:
        cases = {
            "asked": ("trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done", 30, 0),
            "killed": ("echo up; while :; do sleep 0.01; done", 0, 137),
            # Process 1 of a namespace gets no signal it has no handler for, in any container runtime.
            "stubborn": ("echo up; while :; do sleep 0.01; done", 0.05, 137),
        }
        for name, (script, grace, code) in cases.items():
            await node.client.start(node.spec(name, argv=("sh", "-c", script)))
            await node.logged(name, "up")
            await node.client.stop(name, grace=grace)
            assert (await node.exited(name)).exit_code == code, name
        state, _ = await node.run("self", "sh", "-c", "sh -c 'kill -TERM $$'; exit $?")
        assert state.exit_code == 143


async def test_a_program_that_is_killed_while_it_starts_leaves_nothing(tmp_path):
    async with running(tmp_path) as node:
        for number in range(10):
            name = f"p{number}"
            await node.client.start(node.spec(name, argv=("sh", "-c", "echo $$; read x"), stdin=True))
            await node.client.stop(name, grace=0)
            assert (await node.exited(name)).exit_code == 137
        children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children")
        assert children.read_text() == ""
        in_pod = [entry for entry in Path("/proc").glob("[0-9]*/ns/net") if same_namespace(entry, node.pod)]
        assert in_pod == []


def same_namespace(entry, path):
    try:
        return netns.identity(entry) == netns.identity(path)
    except OSError:
        return False  # it has just ended


async def test_a_shorter_grace_wins_over_a_longer(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(
            node.spec("p", argv=("sh", "-c", "trap 'echo no' TERM; echo up; while :; do sleep 0.01; done"))
        )
        await node.logged("p", "up")
        await node.client.stop("p", grace=600)
        await node.logged("p", "no")
        await node.client.stop("p", grace=0)
        assert (await node.exited("p")).exit_code == 137


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"argv": ("no-such-program",)}, 'exec: "no-such-program": executable file not found in $PATH'),
        ({"argv": ("/etc",)}, 'exec: "/etc": permission denied'),
        ({"argv": ("true",), "mounts": (Mount("/nowhere", "/x"),)}, "mount /x: /nowhere does not exist"),
        ({"argv": ("true",), "mounts": (Mount("/usr", "/x", sub_path="../etc"),)}, "must be relative"),
        ({"argv": ("true",), "netns": "/run/netns/none"}, "No such file or directory"),
    ],
)
async def test_a_program_that_cannot_start_says_why(tmp_path, changes, says):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("p", **changes))
        state = await node.exited("p")
        assert (state.exit_code, state.reason) == (128, "StartError")
        assert says in state.message


async def test_a_sub_path_may_not_lead_out_through_a_link(tmp_path):
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "out").symlink_to("/etc")
    async with running(tmp_path) as node:
        mount = Mount(str(tmp_path / "volume"), "/x", sub_path="out")
        state = await node.client.start(node.spec("p", argv=("true",), mounts=(mount,)))
        assert "leads out of its volume" in state.message


async def test_last_words(tmp_path):
    words = Termination(file=str(tmp_path / "words"))
    async with running(tmp_path) as node:
        state, _ = await node.run("a", "sh", "-c", "echo goodbye > /dev/termination-log", termination=words)
        assert (state.message, state.reason) == ("goodbye\n", "Completed")
        from_logs = Termination(file=str(tmp_path / "none"), from_logs=True)
        state, _ = await node.run("b", "sh", "-c", "echo from the log; exit 1", termination=from_logs)
        assert state.message == "from the log\n"


async def test_users_and_capabilities(tmp_path):
    async with running(tmp_path) as node:
        user = Security(run_as_user=1234, run_as_group=1235, drop_capabilities=("ALL",))
        state, lines = await node.run(
            "user", "sh", "-c", "id -u; id -g; grep -h CapEff /proc/self/status", security=user
        )
        assert lines == ["1234", "1235", "CapEff:\t0000000000000000"]
        assert bool(state.notes) is netns.in_user_namespace()
        _, lines = await node.run("root", "grep", "CapEff", "/proc/self/status")
        assert lines == ["CapEff:\t00000000a80425fb"]


async def test_an_image_with_its_own_root_is_written_to_in_private(tmp_path):
    """A root directory of links and files, with the host's programs bound into it."""
    root = tmp_path / "root, with: signs"
    for name in ("usr", "app"):
        (root / name).mkdir(parents=True)
    (root / "app" / "which").write_text("the image")
    for name in ("bin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            (root / name).symlink_to(f"usr/{name}")
    usr = Mount("/usr", "/usr", read_only=True)
    async with running(tmp_path) as node:
        mounts = (usr, Mount("/etc/os-release", "/bound/deep/file", read_only=True))
        user = Security(run_as_user=1234)
        script = "cat /app/which; echo; test -e /etc && echo no; test -s /bound/deep/file && echo bound; id -u"
        state, lines = await node.run("p", "sh", "-c", script, rootfs=str(root), mounts=mounts, security=user)
        assert lines == ["the image", "bound", "1234"]
        assert not any("read-only" in note for note in state.notes)
        write = (
            "rm -r /app && mkdir /app && echo mine > /app/which && echo x > /tmp/y && cat /app/which; echo up; read x"
        )
        for name in ("q", "r"):
            await node.client.start(
                node.spec(name, argv=("sh", "-c", write), rootfs=str(root), mounts=(usr,), stdin=True)
            )
            await node.until(name, lambda state: state.pid)
            await node.logged(name, "up")
            assert node.log(name) == ["mine", "up"]
        async with await node.client.exec("q", ["sh", "-c", "ls /app; cat /app/which"]) as session:
            assert (await read_all(session))[0] == b"which\nmine\n"
        closed = Security(read_only_root=True)
        _, lines = await node.run(
            "ro", "sh", "-c", "echo x 2>&- > /app/z || cat /app/which", rootfs=str(root), mounts=(usr,), security=closed
        )
        assert lines[-1] == "the image"
        state, _ = await node.run("gone", "sh", rootfs=str(tmp_path / "none"))
        assert (state.reason, state.exit_code) == ("StartError", 128)
        assert "none: no such file or directory" in state.message
    assert sorted(path.name for path in (root / "app").iterdir()) == ["which"]
    assert (root / "app" / "which").read_text() == "the image"
    assert not (root / "tmp").exists()
    assert "overlay " + str(root) not in Path("/proc/self/mountinfo").read_text()


async def test_standard_input_is_empty_or_waits(tmp_path):
    async with running(tmp_path) as node:
        state, lines = await node.run("closed", "sh", "-c", "read x || echo end")
        assert (state.exit_code, lines) == (0, ["end"])
        await node.client.start(node.spec("open", argv=("sh", "-c", "echo up; read x"), stdin=True))
        await node.logged("open", "up")
        assert (await node.client.list())[-1].phase == "running"


async def test_exec_joins_the_running_program(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(
            node.spec(
                "p", argv=("sh", "-c", "echo mine > /tmp/x; echo up; read y"), stdin=True, env={"A": "b"}, cwd="/usr"
            )
        )
        # No wait for "up": exec itself waits until there is a program to join.
        await node.until("p", lambda state: state.pid)
        await node.logged("p", "up")
        argv = ["sh", "-c", "cat /tmp/x - ; echo $A; pwd; hostname; grep CapEff /proc/self/status; echo e >&2; exit 7"]
        async with await node.client.exec("p", argv, stdin=True) as session:
            await session.write_stdin(b"typed\n")
            session.close_stdin()
            out, err = await read_all(session)
            assert out == b"mine\ntyped\nb\n/usr\nweb-1\nCapEff:\t00000000a80425fb\n"
            assert err == b"e\n"
            assert await session.wait() == await session.wait() == 7


async def test_exec_as_the_containers_user(tmp_path):
    async with running(tmp_path) as node:
        security = Security(run_as_user=1234, run_as_group=1235)
        await node.client.start(node.spec("p", argv=("sh", "-c", "echo up; read y"), stdin=True, security=security))
        await node.until("p", lambda state: state.pid)
        await node.logged("p", "up")
        async with await node.client.exec("p", ["sh", "-c", "id -u; id -g"]) as session:
            assert (await read_all(session))[0] == b"1234\n1235\n"


@pytest.mark.parametrize("argv", [("sh", "-c", "echo up; read y"), None])
async def test_exec_on_a_terminal(tmp_path, argv):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("p", argv=argv, stdin=True))
        if argv:
            await node.until("p", lambda state: state.pid)
        shell = ["sh", "-c", "test -t 0 && stty size; read line; stty size; echo got $line; exec sleep 600"]
        async with await node.client.exec("p", shell, tty=True, stdin=True, size=(40, 120)) as session:
            assert b"40 120" in await read_until(session, b"\r\n")
            session.resize(10, 20)
            await session.write_stdin(b"hello\n")
            assert b"10 20" in await read_until(session, b"got hello\r\n")
            await session.write_stdin(b"\x03")  # only a controlling terminal turns this into a signal
            async with asyncio.timeout(5):
                assert await session.wait() == 130


async def test_exec_beside_a_stand_in(tmp_path):
    (tmp_path / "file").write_text("mounted")
    async with running(tmp_path) as node:
        mounts = (Mount(str(tmp_path / "file"), "/etc/wherry-test"),)
        await node.client.start(node.spec("s", ports=(Port(80),), env={"A": "b"}, mounts=mounts))
        script = "cat /etc/wherry-test; echo $A; hostname; (exec 3<>/dev/tcp/127.0.0.1/80) && echo open"
        async with await node.client.exec("s", ["bash", "-c", script]) as session:
            assert (await read_all(session))[0] == b"mountedb\nweb-1\nopen\n"
            assert await session.wait() == 0


async def test_exec_that_is_closed_is_ended(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("s"))
        await node.client.start(node.spec("p", argv=("sh", "-c", "echo up; read y"), stdin=True))
        await node.until("p", lambda state: state.pid)
        for name in ("s", "p"):
            session = await node.client.exec(name, ["sh", "-c", "echo $$; exec sleep 600"])
            await session.read_stdout()
            async with asyncio.timeout(5):
                await session.close()
                assert await session.wait() == 137


async def test_exec_right_after_the_start_waits_for_the_program(tmp_path):
    async with running(tmp_path) as node:
        for number in range(5):
            state = await node.client.start(node.spec(f"p{number}", argv=("sh", "-c", "read y"), stdin=True))
            assert state.pid == 0
            async with await node.client.exec(f"p{number}", ["hostname"]) as session:
                assert (await read_all(session))[0] == b"web-1\n"
        await node.client.start(node.spec("none", argv=("no-such-program",)))
        with pytest.raises((RuntimeRefused, ExecFailed)):
            await node.client.exec("none", ["hostname"])


async def test_exec_into_what_is_not_there(tmp_path):
    async with running(tmp_path) as node:
        with pytest.raises(UnknownContainer):
            await node.client.exec("none", ["true"])
        await node.run("done", "true")
        with pytest.raises(RuntimeRefused, match="is not running"):
            await node.client.exec("done", ["true"])
        await node.client.start(node.spec("p", argv=("sh", "-c", "echo up; read y"), stdin=True))
        await node.until("p", lambda state: state.pid)
        with pytest.raises(ExecFailed, match='"none": executable file not found'):
            await node.client.exec("p", ["none"])
        with pytest.raises(ExecFailed, match='"/etc": permission denied'):
            await node.client.exec("p", ["/etc"])
        with pytest.raises(ExecFailed, match="no command"):
            await node.client.exec("p", [])


async def test_after_kill_9_programs_run_on_and_stand_ins_have_ended(tmp_path):
    async with running(tmp_path) as node:
        script = "trap 'echo asked; exit 5' TERM; echo up; n=0; while :; do n=$((n+1)); echo $n; sleep 0.005; done"
        await node.client.start(node.spec("p", argv=("sh", "-c", script)))
        await node.client.start(node.spec("short", argv=("sh", "-c", "echo up; read y; exit 9"), stdin=True))
        await node.client.start(node.spec("s", ports=(Port(80),)))
        pid = (await node.until("p", lambda state: state.pid)).pid
        await node.until("short", lambda state: state.pid)
        await node.logged("p", "up")
        await node.logged("short", "up")
        node.end_process(signal.SIGKILL)
        # While nobody holds the runtime: one program ends, the other goes on writing.
        fifo = os.open("/run/wherry/containers/short.stdin", os.O_WRONLY)
        os.write(fifo, b"x\n")
        os.close(fifo)
        status = Path("/run/wherry/containers/short.status")
        await asyncio.to_thread(wait_for, lambda: '"exit-code"' in status.read_text(), within=10)
        node.start_process()
        states = {state.id: state for state in await node.client.list()}
        assert (states["p"].phase, states["p"].pid) == ("running", pid)
        assert (states["s"].phase, states["s"].exit_code, states["s"].stand_in) == ("exited", 137, True)
        assert (await node.exited("short")).exit_code == 9
        last = int(node.log("p")[-1])
        await node.logged("p", str(last + 20))
        await node.client.stop("p", grace=30)
        assert (await node.exited("p")).exit_code == 5
        numbers = [int(line) for line in node.log("p")[1:-1]]
        assert node.log("p")[-1] == "asked"
        assert numbers == list(range(1, len(numbers) + 1))


async def test_a_program_whose_monitor_was_killed_does_not_live_on(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("p", argv=("sh", "-c", "echo up; read y"), stdin=True))
        pid = (await node.until("p", lambda state: state.pid)).pid
        await node.logged("p", "up")
        pidfd = os.pidfd_open(pid)
        monitor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
        os.kill(monitor, signal.SIGKILL)
        state = await node.exited("p")
        assert (state.exit_code, state.reason) == (137, "ContainerStatusUnknown")
        ended = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(pidfd, lambda: ended.done() or ended.set_result(None))
        async with asyncio.timeout(5):
            await ended
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)


async def test_the_end_of_the_runtime_ends_its_containers(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("p", argv=("sh", "-c", "trap '' TERM; echo up; read y"), stdin=True))
        pid = (await node.until("p", lambda state: state.pid)).pid
        await node.client.start(node.spec("s", ports=(Port(80),)))
        node.end_process()
        assert not Path(f"/proc/{pid}").exists()
        assert node.process.returncode == 0


async def test_losing_a_client_changes_nothing(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("s", ports=(Port(80),)))
        await node.client.start(node.spec("p", argv=("sh", "-c", "echo up; read y"), stdin=True))
        with node.connect("127.0.0.1", 80) as before:
            before.sendall(b"half ")
            assert await asyncio.to_thread(before.recv, 100) == b"half "
            other = RuntimeClient(node.settings.socket)
            async with asyncio.TaskGroup() as group:
                connection = group.create_task(other.run())
                assert {state.id: state.phase for state in await other.list()} == {"s": "running", "p": "running"}
                connection.cancel()
            before.sendall(b"done")
            assert await asyncio.to_thread(before.recv, 100) == b"done"
        assert [state.phase for state in await node.client.list()] == ["running", "running"]


async def test_requests_may_be_repeated(tmp_path):
    async with running(tmp_path) as node:
        spec = node.spec("p", argv=("sh", "-c", "echo up; read y"), stdin=True)
        first, second = await asyncio.gather(node.client.start(spec), node.client.start(spec))
        assert first.started_at == second.started_at
        with pytest.raises(RuntimeRefused, match="still runs"):
            await node.client.remove("p")
        await node.client.stop("p", grace=0)
        await node.client.stop("p", grace=0)
        await node.exited("p")
        await node.client.stop("p", grace=0)
        await node.client.remove("p")
        await node.client.remove("p")
        with pytest.raises(UnknownContainer):
            await node.client.stop("p", grace=0)
        assert await node.client.list() == []
        assert sorted(path.name for path in Path("/run/wherry/containers").iterdir()) == ["lock"]
        with pytest.raises(RuntimeRefused, match="not a container id"):
            await node.client.start(node.spec("../x"))


async def test_only_one_runtime_serves_a_node(tmp_path):
    async with running(tmp_path) as node:
        second = await asyncio.to_thread(
            subprocess.run, command(node.settings), capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        assert "another runtime process" in second.stderr
        assert await node.client.list() == []


async def test_a_client_that_talks_nonsense_is_cut_off_alone(tmp_path):
    async with running(tmp_path) as node:
        reader, writer = await asyncio.open_unix_connection(node.settings.socket)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        assert await node.client.list() == []


async def test_without_a_runtime_a_request_gives_up(tmp_path):
    client = RuntimeClient(tmp_path / "none.sock", patience=0.05)
    async with asyncio.TaskGroup() as group:
        connection = group.create_task(client.run())
        with pytest.raises(RuntimeUnavailable):
            await client.list()
        connection.cancel()


@pytest.mark.parametrize("arguments", [[], ["{}"], ["nonsense"]])
def test_unusable_settings_are_one_line(arguments):
    line = command(Settings(socket="s", state_dir="d"))[:-1]
    result = subprocess.run([*line, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1

"""The plan and the status of one pod, as tables: what is, what to do, what to say. No I/O, no clock."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.kube.objects import Pod
from wherry.pods.backoff import BackOff, BackOffPolicy, go_duration, held_until, raised
from wherry.pods.compile import Remove, SetUp, Start, Stop, TearDown, compile_pod
from wherry.pods.model import ContainerState
from wherry.pods.state import (
    SETUP,
    Attempt,
    Ending,
    Observed,
    ProbeResults,
    SandboxState,
    Stopping,
    container_id,
    image_hash,
    parse_id,
    restart_epoch,
)
from wherry.pods.status import pod_phase, pod_status, same_status, status_patch
from wherry.pods.testing.node import container
from wherry.pods.testing.node import pod as pod_json

NOW = 1000.0
UP = {"sandbox": SandboxState(("10.42.0.2",)), "volumes": True}


def pod(*containers: dict[str, Any], **spec: Any) -> Pod:
    found = pod_json(containers=list(containers) or None, **spec)
    found["metadata"]["uid"] = "u-1"
    return msgspec.convert(found, Pod)


def attempt(name: str = "web", number: int = 0, *, code: int | None = None, at: float = NOW, **state: Any) -> Attempt:
    fields: dict[str, Any] = {"phase": "running"} if code is None else {"phase": "exited", "exit_code": code}
    fields |= {"started_at": at - 5, "finished_at": 0.0 if code is None else at} | state
    id_ = f"u-1_{name}_{number}_{image_hash('example.com/web:1')}"
    return Attempt(number, image_hash("example.com/web:1"), ContainerState(id=id_, pod_uid="u-1", name=name, **fields))


def names(pod: Pod, seen: Observed, now: float = NOW) -> list[str]:
    """The plan in words."""
    words: list[str] = []
    for action in compile_pod(pod, seen, now).actions:
        match action:
            case SetUp():
                words.append("set up")
            case Start(c, number):
                words.append(f"start {c.name} {number}")
            case Stop(c, held=held, kill=kill):
                words.append(f"{'hold' if held else 'kill' if kill else 'stop'} {c.name}")
            case Remove(_, id_):
                words.append(f"remove {id_.split('_')[2]}")
            case TearDown(delete):
                words.append("delete" if delete else "tear down")
    return words


SIDECAR = container("proxy", restartPolicy="Always")
PROBED = container("proxy", restartPolicy="Always", startupProbe={"tcpSocket": {"port": 1}})
RULED = container(
    restartPolicy="Never",
    restartPolicyRules=[{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}],
)
ALL_ANEW = container(
    restartPolicy="Never",
    restartPolicyRules=[{"action": "RestartAllContainers", "exitCodes": {"operator": "NotIn", "values": [0, 1]}}],
)
PAIR = [container(), container("next")]
ENDING = Ending(deadline=NOW + 30, delete=True)


@pytest.mark.parametrize(
    ("spec", "seen", "plan", "phase"),
    [
        ({}, {}, ["set up"], "Pending"),
        ({}, {"busy": frozenset({SETUP})}, [], "Pending"),
        ({}, {"retry_at": {SETUP: NOW + 1}}, [], "Pending"),
        ({}, UP, ["start web 0"], "Pending"),
        ({}, UP | {"busy": frozenset({"web"})}, [], "Pending"),
        ({}, UP | {"attempts": {"web": (attempt(),)}}, [], "Running"),
        ({}, UP | {"attempts": {"web": (attempt(code=0),)}}, ["start web 1"], "Running"),
        ({"restartPolicy": "OnFailure"}, UP | {"attempts": {"web": (attempt(code=1),)}}, ["start web 1"], "Running"),
        ({"restartPolicy": "OnFailure"}, UP | {"attempts": {"web": (attempt(code=0),)}}, ["tear down"], "Succeeded"),
        ({"restartPolicy": "Never"}, UP | {"attempts": {"web": (attempt(code=1),)}}, ["tear down"], "Failed"),
        ({"restartPolicy": "Never"}, {"attempts": {"web": (attempt(code=0),)}}, [], "Succeeded"),
        # init containers
        ({"initContainers": [container("one"), container("two")]}, UP, ["start one 0"], "Pending"),
        (
            {"initContainers": [container("one"), container("two")]},
            UP | {"attempts": {"one": (attempt("one", code=0),)}},
            ["start two 0"],
            "Pending",
        ),
        (
            {"initContainers": [container("one")]},
            UP | {"attempts": {"one": (attempt("one", code=1),)}},
            ["start one 1"],
            "Pending",
        ),
        (
            {"initContainers": [container("one")], "restartPolicy": "Never"},
            UP | {"attempts": {"one": (attempt("one", code=1),)}},
            ["tear down"],
            "Failed",
        ),
        (
            {"initContainers": [container("one")]},
            UP | {"attempts": {"one": (attempt("one", code=0),), "web": (attempt(code=1),)}},
            ["start web 1"],
            "Running",
        ),
        # sidecars
        ({"initContainers": [SIDECAR]}, UP | {"attempts": {"proxy": (attempt("proxy"),)}}, ["start web 0"], "Pending"),
        ({"initContainers": [PROBED]}, UP | {"attempts": {"proxy": (attempt("proxy"),)}}, [], "Pending"),
        (
            {"initContainers": [SIDECAR]},
            UP | {"attempts": {"proxy": (attempt("proxy", code=1),), "web": (attempt(),)}},
            ["start proxy 1"],
            "Running",
        ),
        (
            {"initContainers": [SIDECAR], "restartPolicy": "Never"},
            UP | {"attempts": {"proxy": (attempt("proxy"),), "web": (attempt(code=0),)}},
            ["stop proxy"],
            "Running",
        ),
        # the end
        ({}, UP | {"attempts": {"web": (attempt(),)}, "ending": ENDING}, ["stop web"], "Running"),
        ({}, UP | {"attempts": {"web": (attempt(code=143),)}, "ending": ENDING}, ["delete"], "Failed"),
        ({}, UP | {"attempts": {"web": (attempt(code=0),)}, "ending": ENDING}, ["delete"], "Succeeded"),
        ({}, {"ending": ENDING}, ["delete"], "Failed"),
        (
            {"initContainers": [SIDECAR]},
            UP | {"attempts": {"proxy": (attempt("proxy"),), "web": (attempt(),)}, "ending": ENDING},
            ["stop web", "hold proxy"],
            "Running",
        ),
        (
            {"initContainers": [SIDECAR]},
            UP | {"attempts": {"proxy": (attempt("proxy"),), "web": (attempt(code=0),)}, "ending": ENDING},
            ["stop proxy"],
            "Running",
        ),
        # a network that was lost
        ({}, {"volumes": True, "attempts": {"web": (attempt(),)}}, ["stop web"], "Running"),
        (
            {"initContainers": [container("one")]},
            {
                "volumes": True,
                "sandbox": SandboxState(("10.42.0.2",), since=NOW + 1),
                "attempts": {"one": (attempt("one", code=0),), "web": (attempt(code=137),)},
            },
            ["start one 1"],
            "Running",
        ),
        # containers that are restarted by a policy or rule of their own
        (
            {"containers": [RULED], "restartPolicy": "Never"},
            UP | {"attempts": {"web": (attempt(code=42),)}},
            ["start web 1"],
            "Running",
        ),
        (
            {"containers": [RULED], "restartPolicy": "Never"},
            UP | {"attempts": {"web": (attempt(code=1),)}},
            ["tear down"],
            "Failed",
        ),
        (
            {"containers": [container(restartPolicy="Never")], "restartPolicy": "Always"},
            UP | {"attempts": {"web": (attempt(code=0),)}},
            ["tear down"],
            "Succeeded",
        ),
        (
            {"initContainers": [container("one", restartPolicy="Never")]},
            UP | {"attempts": {"one": (attempt("one", code=1),)}},
            ["tear down"],
            "Failed",
        ),
        (
            {"initContainers": [container("one", restartPolicy="OnFailure")], "restartPolicy": "Never"},
            UP | {"attempts": {"one": (attempt("one", code=1),)}},
            ["start one 1"],
            "Pending",
        ),
        # one end that makes all begin anew
        (
            {"initContainers": [container("one"), SIDECAR], "containers": [ALL_ANEW], "restartPolicy": "Never"},
            UP
            | {
                "epoch": NOW,
                "attempts": {
                    "one": (attempt("one", code=0),),
                    "proxy": (attempt("proxy"),),
                    "web": (attempt(code=42),),
                },
            },
            ["kill proxy"],
            "Running",
        ),
        (
            {"initContainers": [container("one"), SIDECAR], "containers": [ALL_ANEW], "restartPolicy": "Never"},
            UP
            | {
                "epoch": NOW,
                "attempts": {
                    "one": (attempt("one", code=0),),
                    "proxy": (attempt("proxy", code=137, at=NOW + 1),),
                    "web": (attempt(code=42),),
                },
            },
            ["start one 1"],
            "Running",
        ),
        # main containers are started in order, and a postStart hook holds the next one back
        ({"containers": PAIR}, UP, ["start web 0"], "Pending"),
        (
            {"containers": PAIR},
            UP | {"attempts": {"web": (attempt(),)}, "hooks": frozenset({attempt().state.id})},
            [],
            "Pending",
        ),
        ({"containers": PAIR}, UP | {"attempts": {"web": (attempt(),)}}, ["start next 0"], "Pending"),
        ({"containers": PAIR}, UP | {"retry_at": {"web": NOW + 1}}, ["start next 0"], "Pending"),
        # a changed definition, whatever the restart policy
        (
            {"restartPolicy": "Never"},
            UP | {"attempts": {"web": (attempt(code=143),)}, "replaced": frozenset({attempt().state.id})},
            ["start web 1"],
            "Running",
        ),
        # ephemeral containers: at once, once, and nobody waits for them
        (
            {"initContainers": [container("one")], "ephemeralContainers": [container("debug")]},
            UP | {"attempts": {"one": (attempt("one"),)}},
            ["start debug 0"],
            "Pending",
        ),
        (
            {"ephemeralContainers": [container("debug")]},
            UP | {"attempts": {"web": (attempt(),), "debug": (attempt("debug", code=1),)}},
            [],
            "Running",
        ),
        (
            {"ephemeralContainers": [container("debug")], "restartPolicy": "Never"},
            UP | {"attempts": {"web": (attempt(code=0),), "debug": (attempt("debug"),)}},
            ["stop debug"],
            "Running",
        ),
        # old starts
        (
            {},
            UP | {"attempts": {"web": (attempt(number=0, code=1), attempt(number=1, code=1), attempt(number=2))}},
            ["remove 0"],
            "Running",
        ),
    ],
)
def test_plan_and_phase(spec: dict[str, Any], seen: dict[str, Any], plan: list[str], phase: str) -> None:
    spec = dict(spec)
    subject, observed = pod(*spec.pop("containers", ()), **spec), Observed(**seen)
    assert names(subject, observed) == plan
    assert pod_phase(subject, observed) == phase


def test_a_failed_probe_stops_with_the_grace_period_of_the_probe() -> None:
    subject = pod(container(livenessProbe={"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 7}))
    running = attempt()
    seen = Observed(**UP, attempts={"web": (running,)}, probes={running.state.id: ProbeResults(liveness=False)})
    action = compile_pod(subject, seen, NOW).actions[0]
    assert isinstance(action, Stop)
    assert action.deadline == NOW + 7
    assert action.message == "Container web failed liveness probe, will be restarted"
    asked = msgspec.structs.replace(seen, stopping={running.state.id: Stopping(NOW + 7)})
    assert compile_pod(subject, asked, NOW).actions == ()


def test_a_probe_that_fails_for_good_does_not_promise_a_restart() -> None:
    subject = pod(container(livenessProbe={"tcpSocket": {"port": 1}}), restartPolicy="Never")
    running = attempt()
    seen = Observed(**UP, attempts={"web": (running,)}, probes={running.state.id: ProbeResults(liveness=False)})
    action = compile_pod(subject, seen, NOW).actions[0]
    assert isinstance(action, Stop)
    assert action.message == "Container web failed liveness probe"


def test_all_begin_anew_after_the_end_that_asks_for_it() -> None:
    subject = pod(ALL_ANEW, container("other"))
    attempts = {"web": (attempt(code=1), attempt(number=1, code=42, at=NOW + 7)), "other": (attempt("other", code=42),)}
    assert restart_epoch(subject, attempts) == NOW + 7
    assert restart_epoch(pod(), attempts) == 0.0


def test_a_sidecar_that_was_held_is_signalled_when_its_turn_comes() -> None:
    subject = pod(initContainers=[SIDECAR])
    sidecar = attempt("proxy")
    seen = Observed(
        **UP,
        attempts={"proxy": (sidecar,), "web": (attempt(code=0),)},
        stopping={sidecar.state.id: Stopping(NOW + 30, held=True)},
        ending=ENDING,
    )
    assert names(subject, seen) == ["stop proxy"]


def test_a_shorter_grace_period_is_passed_on_and_a_longer_one_is_not() -> None:
    running = attempt()
    seen = Observed(**UP, attempts={"web": (running,)}, stopping={running.state.id: Stopping(NOW + 30)})
    assert names(pod(), msgspec.structs.replace(seen, ending=Ending(NOW + 5, True))) == ["stop web"]
    assert names(pod(), msgspec.structs.replace(seen, ending=Ending(NOW + 60, True))) == []


def test_back_off_doubles_up_to_its_maximum_and_is_forgotten_after_ten_minutes() -> None:
    policy, entry, delays = BackOffPolicy(), None, []
    for end in (0.0, 20.0, 50.0, 100.0, 200.0, 400.0, 800.0):
        held = held_until(entry, end, policy)
        delays.append(0.0 if held is None else held - end)
        entry = raised(entry, end, end + delays[-1], policy)
    assert delays == [0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0]
    assert entry == BackOff(300.0, 1100.0)
    assert held_until(entry, 1100.0 + 601.0, policy) is None


def test_the_plan_wakes_up_when_the_back_off_is_over() -> None:
    seen = Observed(**UP, attempts={"web": (attempt(number=1, code=1),)}, backoffs={"web": BackOff(20.0, NOW - 5)})
    plan = compile_pod(pod(), seen, NOW + 1)
    assert plan.actions == ()
    assert plan.wake_at == NOW + 20
    assert plan.waiting["web"].message == "back-off 20s restarting failed container=web pod=web_default(u-1)"
    assert names(pod(), seen, NOW + 20) == ["start web 2"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.3, "300ms"), (10, "10s"), (160, "2m40s"), (3600, "1h0m0s")]
)
def test_durations_as_go_writes_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


def test_an_id_says_what_it_is_the_id_of() -> None:
    subject = pod()
    assert subject.spec.containers
    found = parse_id(container_id(subject, subject.spec.containers[0], 3))
    assert found is not None
    assert (found.pod_uid, found.container, found.attempt) == ("u-1", "web", 3)
    assert parse_id("something-else") is None


# -- status -----------------------------------------------------------------------------------------------------------


def report(subject: Pod, seen: Observed, now: float = NOW) -> Pod:
    """The pod as the API has it after its status was written."""
    plan = compile_pod(subject, seen, now)
    return msgspec.structs.replace(
        subject, status=pod_status(subject, seen, plan.waiting, host_ips=("172.30.0.11",), now=now)
    )


def words(subject: Pod) -> dict[str, tuple[str, str]]:
    return {found.type: (found.status, found.reason) for found in subject.status.conditions}


def test_conditions_of_a_pod_on_its_way_up() -> None:
    subject = report(pod(initContainers=[container("one")]), Observed())
    assert words(subject) == {
        "PodReadyToStartContainers": ("False", ""),
        "Initialized": ("False", "ContainersNotInitialized"),
        "Ready": ("False", "ContainersNotReady"),
        "ContainersReady": ("False", "ContainersNotReady"),
        "PodScheduled": ("True", ""),
    }
    ready = subject.status.condition("Ready")
    assert ready is not None
    assert ready.message == "containers with unready status: [web]"
    waiting = subject.status.container_statuses[0].state.waiting
    assert waiting is not None
    assert waiting.reason == "PodInitializing"


def test_a_condition_keeps_its_time_while_it_holds() -> None:
    first = report(pod(), Observed())
    later = report(first, Observed(**UP), NOW + 100)
    times = {found.type: found.last_transition_time for found in later.status.conditions}
    assert times["Ready"] == "1970-01-01T00:16:40Z"
    assert times["PodReadyToStartContainers"] == "1970-01-01T00:18:20Z"


def test_a_finished_pod_says_so_in_its_conditions_and_keeps_its_address() -> None:
    up = report(pod(restartPolicy="Never"), Observed(**UP, attempts={"web": (attempt(),)}))
    done = report(up, Observed(volumes=True, attempts={"web": (attempt(code=0),)}))
    assert done.status.phase == "Succeeded"
    assert done.status.pod_ip == "10.42.0.2"
    assert words(done)["Ready"] == ("False", "PodCompleted")


def test_a_patch_sends_only_what_changed_and_names_the_uid() -> None:
    before = report(pod(), Observed(**UP, attempts={"web": (attempt(),)}))
    after = report(before, Observed(**UP, attempts={"web": (attempt(number=1, code=1),)}))
    assert status_patch(before, before.status, before.status) == {"metadata": {"uid": "u-1"}, "status": {}}
    patch = status_patch(before, before.status, after.status)
    assert patch["metadata"] == {"uid": "u-1"}
    assert set(patch["status"]) == {"containerStatuses", "conditions"}
    assert patch["status"]["containerStatuses"][0]["ready"] is False
    back = status_patch(after, after.status, before.status)
    ready = next(found for found in back["status"]["conditions"] if found["type"] == "Ready")
    assert ready["reason"] is None


def test_nothing_is_reported_of_a_container_whose_first_post_start_hook_runs() -> None:
    running = attempt()
    subject = report(pod(), Observed(**UP, attempts={"web": (running,)}, hooks=frozenset({running.state.id})))
    state = subject.status.container_statuses[0].state
    assert state.waiting is not None
    assert state.waiting.reason == "ContainerCreating"
    assert subject.status.phase == "Pending"


def test_main_containers_are_reported_by_name_and_ephemeral_ones_apart() -> None:
    seen = Observed(**UP, attempts={"web": (attempt(),), "debug": (attempt("debug", code=3),)})
    subject = report(pod(container(), container("app"), ephemeralContainers=[container("debug")]), seen)
    assert [found.name for found in subject.status.container_statuses] == ["app", "web"]
    debug = subject.status.ephemeral_container_statuses[0]
    assert debug.state.terminated is not None
    assert (debug.ready, debug.started, debug.state.terminated.exit_code) == (False, None, 3)
    encoded = status_patch(subject, Pod().status, subject.status)["status"]
    assert "started" not in encoded["ephemeralContainerStatuses"][0]


def test_termination_messages_of_a_pod_share_twelve_kibibytes() -> None:
    containers = [container(f"c{number}") for number in range(4)]
    ended = {f"c{number}": (attempt(f"c{number}", code=1, message="é" * 2000),) for number in range(4)}
    subject = report(pod(*containers, restartPolicy="Never"), Observed(**UP, attempts=ended))
    for status in subject.status.container_statuses:
        assert status.state.terminated is not None
        assert len(status.state.terminated.message.encode()) == 3072


def test_what_a_container_has_is_in_its_status() -> None:
    mount = {"name": "v", "mountPath": "/v", "readOnly": True}
    subject = report(
        pod(container(volumeMounts=[mount], resources={"requests": {"cpu": "10m"}, "limits": {"cpu": "1"}})),
        Observed(**UP, attempts={"web": (attempt(),)}),
    )
    encoded = status_patch(subject, Pod().status, subject.status)["status"]["containerStatuses"][0]
    assert encoded["volumeMounts"] == [mount | {"recursiveReadOnly": "Disabled"}]
    assert (encoded["allocatedResources"], encoded["resources"]) == ({"cpu": "10m"}, {})


def test_the_condition_of_restarting_all_is_there_where_a_rule_may_ask_for_it() -> None:
    attempts = {"web": (attempt(code=42),), "other": (attempt("other"),)}
    under_way = report(pod(ALL_ANEW, container("other")), Observed(**UP, attempts=attempts, epoch=NOW))
    assert words(under_way)["AllContainersRestarting"] == ("True", "")
    after = report(under_way, Observed(**UP, attempts=attempts))
    assert words(after)["AllContainersRestarting"] == ("False", "")


states = st.builds(
    lambda number, code: attempt(number=number, code=code), st.integers(0, 5), st.one_of(st.none(), st.integers(0, 255))
)


@given(
    attempts=st.lists(states, max_size=2).map(lambda found: tuple(sorted(found, key=lambda a: a.number))),
    policy=st.sampled_from(["Always", "OnFailure", "Never"]),
    up=st.booleans(),
    ending=st.one_of(st.none(), st.just(ENDING)),
)
def test_a_status_that_was_written_needs_no_second_write(
    attempts: tuple[Attempt, ...], policy: str, up: bool, ending: Ending | None
) -> None:
    seen = Observed(**(UP if up else {}), attempts={"web": attempts} if attempts else {}, ending=ending)
    subject = report(pod(restartPolicy=policy), seen)
    again = report(subject, seen, NOW + 0.5)
    assert same_status(subject.status, again.status)
    encoded = status_patch(subject, Pod().status, subject.status)["status"]
    assert same_status(msgspec.convert(encoded, type(subject.status)), subject.status)

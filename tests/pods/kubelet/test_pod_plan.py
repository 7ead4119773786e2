"""The plan and the status of one pod, as tables: what is, what to do, what to say. No I/O, no clock."""

from typing import Any

import msgspec
import pytest

from tests.pods.kubelet.observations import ALL_ANEW, ENDING, NOW, PAIR, PROBED, RULED, SIDECAR, UP, attempt, pod
from wherry.kube.objects import Pod
from wherry.pods.backoff import BackOff, BackOffPolicy, go_duration, held_until, raised
from wherry.pods.compile import Remove, SetUp, Start, Stop, TearDown, compile_pod
from wherry.pods.state import (
    SETUP,
    Ending,
    Observed,
    ProbeResults,
    SandboxState,
    Stopping,
    container_id,
    parse_id,
    restart_epoch,
)
from wherry.pods.status import pod_phase
from wherry.pods.testing.node import container


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

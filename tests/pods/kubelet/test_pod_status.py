"""The status of one pod: phase, conditions and containers as they are reported, and the patch between two."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.pods.kubelet.observations import ALL_ANEW, ENDING, NOW, UP, attempt, pod
from wherry.kube.objects import Pod
from wherry.pods.compile import compile_pod
from wherry.pods.model import User
from wherry.pods.state import Attempt, Ending, Observed
from wherry.pods.status import pod_status, same_status, status_patch
from wherry.pods.testing.node import container


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


def test_a_pod_that_is_over_before_its_first_report_names_its_address() -> None:
    done = report(pod(restartPolicy="Never"), Observed(addresses=("10.42.0.9",), attempts={"web": (attempt(code=0),)}))
    assert (done.status.phase, done.status.pod_ip) == ("Succeeded", "10.42.0.9")


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
    recursive = mount | {"name": "w", "mountPath": "/w", "recursiveReadOnly": "IfPossible"}
    subject = report(
        pod(container(volumeMounts=[mount, recursive], resources={"requests": {"cpu": "10m"}, "limits": {"cpu": "1"}})),
        Observed(**UP, attempts={"web": (attempt(user=User(0, 10, (10, 20))),)}),
    )
    encoded = status_patch(subject, Pod().status, subject.status)["status"]["containerStatuses"][0]
    assert encoded["user"] == {"linux": {"uid": 0, "gid": 10, "supplementalGroups": (10, 20)}}
    assert encoded["volumeMounts"] == [
        mount | {"recursiveReadOnly": "Disabled"},
        recursive | {"recursiveReadOnly": "Enabled"},
    ]
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

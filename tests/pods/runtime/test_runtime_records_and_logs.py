import re

import pytest

from wherry.pods.model import ContainerSpec, ContainerState
from wherry.pods.runtime import logs
from wherry.pods.runtime.logs import ContainerLog, entries, tail, timestamp
from wherry.pods.runtime.outcome import Outcome, Status, judge, parse_info, parse_status
from wherry.pods.runtime.records import Record, Records, valid_id

SPEC = ContainerSpec(
    id="c1", pod_uid="u", namespace="n", pod="p", name="c", image="i", node="n", log_path="/l", env={"A": "b"}
)
STATE = ContainerState(id="c1", pod_uid="u", name="c", phase="running", started_at=1.5)


def test_timestamps_have_nine_digits_and_are_utc():
    assert timestamp(1_000_000_000_000_000_007) == "2001-09-09T01:46:40.000000007Z"


def test_lines_become_entries():
    assert entries("stdout", b"a\n\nb", 0) == (
        b"1970-01-01T00:00:00.000000000Z stdout F a\n"
        b"1970-01-01T00:00:00.000000000Z stdout F \n"
        b"1970-01-01T00:00:00.000000000Z stdout P b\n"
    )


def test_a_long_line_is_split_and_joins_again():
    text = b"x" * (2 * logs.MAX_ENTRY + 7)
    lines = entries("stderr", text + b"\n", 0).splitlines()
    parts = [line.split(b" ", 3) for line in lines]
    assert [part[2] for part in parts] == [b"P", b"P", b"F"]
    assert b"".join(part[3] for part in parts) == text


@pytest.mark.parametrize("keep_open", [True, False])
def test_a_log_grows_survives_reopening_and_is_rotated(tmp_path, monkeypatch, keep_open):
    monkeypatch.setattr(logs, "MAX_SIZE", 200)
    path = tmp_path / "pods" / "c" / "0.log"
    log = ContainerLog(str(path), keep_open=keep_open)
    log.write("stdout", b"one\n")
    log.close()
    log.write("stderr", b"two\n")
    assert re.fullmatch(rb"\S+Z stdout F one\n\S+Z stderr F two\n", path.read_bytes())
    for number in range(20):
        log.write("stdout", b"%02d" % number + b"y" * 40 + b"\n")
    log.close()
    files = sorted(path.parent.iterdir())
    assert 2 <= len(files) <= logs.MAX_FILES
    assert path.stat().st_size <= 200
    assert path.read_bytes().splitlines()[-1].endswith(b"19" + b"y" * 40)


def test_a_log_that_cannot_be_written_is_said_once(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    log = ContainerLog(str(tmp_path / "file" / "0.log"), keep_open=True)
    log.write("stdout", b"a\n")
    log.write("stdout", b"b\n")
    assert capsys.readouterr().err.count("output is dropped") == 1


def test_the_tail_of_a_log(tmp_path):
    log = ContainerLog(str(tmp_path / "0.log"), keep_open=False)
    log.write("stdout", b"1\n2\nunfin")
    log.write("stdout", b"ished\n4\n")
    assert tail(str(tmp_path / "0.log"), 2048, 2) == "unfinished\n4\n"
    assert tail(str(tmp_path / "0.log"), 4, 80) == "d\n4\n"
    assert tail(str(tmp_path / "none"), 4, 80) == ""


def test_records_come_back_and_leave_nothing(tmp_path):
    records = Records(str(tmp_path))
    records.save(Record(SPEC, STATE))
    records.save(Record(SPEC, STATE, monitor=7, monitor_start=8))
    (tmp_path / "damaged.record").write_bytes(b"\xc1")
    loaded, unreadable = records.load_all()
    assert loaded == [Record(SPEC, STATE, monitor=7, monitor_start=8)]
    assert unreadable == ["damaged.record"]
    (tmp_path / "c1.status").write_text("")
    records.delete("c1")
    records.delete("c1")
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.record"]


def test_ids_name_files():
    assert valid_id("a1-b_2.c")
    assert not any(valid_id(text) for text in ("", ".", "..", "a/b", "-a", "a\n", "x" * 200))


def test_bwraps_status():
    text = '{ "child-pid": 12, "pid-namespace": 3 }\n{ "exit-code": 3 }\n{ "exit'
    assert parse_status(text) == Status(pid=12, exit_code=3)
    assert parse_status("") == Status()
    assert parse_status("7\n[]\n") == Status()
    assert parse_info(b'{\n    "child-pid": 12\n}\n') == 12
    assert [parse_info(data) for data in (b"", b"[]", b'{"child-pid": "x"}', b"\xff")] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("status", "output", "expected"),
    [
        (Status(1, 0), b"", Outcome(0, "Completed")),
        (Status(1, 3), b"bwrap: not at all\n", Outcome(3, "Error")),
        (Status(1, 143), b"", Outcome(143, "Error")),
        (Status(1, 1), b"oops\n", Outcome(1, "Error")),
        (Status(1, None), b"", Outcome(137, "ContainerStatusUnknown", "nobody saw how the container ended")),
        (
            Status(1, 1),
            b"bwrap: execvp nope: No such file or directory\n",
            Outcome(128, "StartError", 'exec: "nope": executable file not found in $PATH'),
        ),
        (
            Status(1, None),
            b"bwrap: Can't find source path /x: No such file or directory\nmore",
            Outcome(128, "StartError", "Can't find source path /x: No such file or directory"),
        ),
        (
            Status(1, 126),
            b"setpriv: failed to execute /etc: Permission denied\n",
            Outcome(128, "StartError", 'exec: "/etc": permission denied'),
        ),
    ],
)
def test_the_end_as_kubernetes_reports_it(status, output, expected):
    assert judge(status, output=output) == expected

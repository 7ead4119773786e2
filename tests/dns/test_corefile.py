"""The grammar of Corefiles: what each text reads as, and what is said of those that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.dns.corefile.durations import format_duration, parse_duration
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.corefile.model import Directive
from wherry.dns.corefile.parser import Parsed, Parser

Plain = list[object]


def plain(directive: Directive) -> Plain:
    return [directive.name, *directive.args, *([[plain(line) for line in directive.body]] if directive.body else [])]


def read(text: str | bytes, path: str = "/nowhere/Corefile") -> list[tuple[list[str], list[Plain]]]:
    parsed = Parser().parse_text(text.encode() if isinstance(text, str) else text, path)
    return [(block.keys, list(map(plain, block.directives))) for block in parsed.blocks]


READS = {
    "one block": (".:53 {\n  errors\n}", [([".:53"], [["errors"]])]),
    "no braces": (".\nerrors\nlog a b", [(["."], [["errors"], ["log", "a", "b"]])]),
    "brace on the next line": (".\n{\nerrors\n}", [(["."], [["errors"]])]),
    "directive after the brace": (". { errors\n}", [(["."], [["errors"]])]),
    "two blocks": ("a {\nlog\n}\nb {\n}", [(["a"], [["log"]]), (["b"], [])]),
    "keys by commas and spaces": ("a, b c:53,\nd {\n}", [(["a", "b", "c:53", "d"], [])]),
    "keys alone": ("example.org", [(["example.org"], [])]),
    "nothing": ("", []),
    "only a comment": ("# nothing\n", []),
    "body": (". {\n health :8080 {\n  lameduck 5s\n }\n}", [(["."], [["health", ":8080", [["lameduck", "5s"]]]])]),
    "body on the next line": (". {\n health\n {\n  lameduck 5s\n }\n}", [(["."], [["health", [["lameduck", "5s"]]]])]),
    "empty body": (". {\n health { }\n log\n}", [(["."], [["health"], ["log"]])]),
    "nested bodies": (". {\n log {\n a {\n b {\n c\n }\n }\n d\n }\n}",
                      [(["."], [["log", [["a", [["b", [["c"]]]]], ["d"]]]])]),
    "quotes": ('. {\n log "a b" "" "c \\"d\\" \\n"\n}', [(["."], [["log", "a b", "", 'c "d" \\n']])]),
    "quoted braces are words": ('. {\n log "{" "}"\n}', [(["."], [["log", "{", "}"]])]),
    "quoted lines": ('. {\n log "a\nb" c\n errors\n}', [(["."], [["log", "a\nb", "c"], ["errors"]])]),
    "words against quotes": ('. {\n log "a"b\n}', [(["."], [["log", "a", "b"]])]),
    "quote inside a word": ('. {\n log a"b\n}', [(["."], [["log", 'a"b']])]),
    "comments": ("# x {\n. { # y\n log # z\n#}\n}", [(["."], [["log"]])]),
    "comment against a word": (". {\n log a#b c\n}", [(["."], [["log", "a"]])]),
    "no comment in quotes": ('. {\n log "a#b"\n}', [(["."], [["log", "a#b"]])]),
    "byte order mark and carriage returns": ("\ufeff. {\r\n log a\r\n}\r\n", [(["."], [["log", "a"]])]),
    "not UTF-8": (b". {\n log \xff\n}", [(["."], [["log", "\ufffd"]])]),
    "snippet": ("(s) {\n errors\n log . {\n class all\n }\n}\n. {\n import s\n ready\n}",
                [(["."], [["errors"], ["log", ".", [["class", "all"]]], ["ready"]])]),
    "snippet in a body": ("(s) {\n lameduck 5s\n}\n. {\n health {\n import s\n }\n}",
                          [(["."], [["health", [["lameduck", "5s"]]]])]),
    "snippet at top level": ("(s) {\n a {\n log\n }\n}\nimport s", [(["a"], [["log"]])]),
    "snippet in a snippet": ("(s) {\n log\n}\n(t) {\n import s\n}\n. {\n import t\n}", [(["."], [["log"]])]),
    "pattern without files": (". {\n import custom/*.override\n log\n}\nimport custom/*.server", [(["."], [["log"]])]),
}  # fmt: skip


@pytest.mark.parametrize("case", READS)
def test_reads(case: str) -> None:
    text, expected = READS[case]
    assert read(text) == expected


REFUSES = {
    "unknown": (". {\n\n frobnicate\n}", 3, "Unknown directive 'frobnicate'; there are: acl, any, "),
    "misspelt": (". {\n forwrad . 1.1.1.1\n}", 2, "(did you mean forward?)"),
    "not ours": (". {\n etcd\n}", 2, "plugin etcd of CoreDNS is not part of wherry; there are: acl, any, "),
    "block never ends": (". {\n errors\n", 1, "Unexpected EOF"),
    "body never ends": (". {\n errors {\n stacktrace\n", 2, "Unexpected EOF"),
    "quote never ends": ('. {\n log "a\n}\n', 2, "Unexpected EOF"),
    "stray brace": (". {\n}\n}", 3, "Unexpected '}' because no matching opening brace"),
    "stray brace without braces": (".\nlog\n}", 3, "Unexpected '}' because no matching opening brace"),
    "brace after a directive": (". {\n log }\n", 2, "Unexpected '}' because no matching opening brace"),
    "word after a brace": (". {\n health {\n } log\n}", 3, "Unexpected token 'log'"),
    "brace without a name": (". {\n {\n }\n}", 2, "a directive's name must come before it"),
    "brace without a key": ("{\n}", 1, "Expected a server block's address but had '{'"),
    "comma before a brace": ("a, {\n}", 1, "Expected another address but had '{' - check for extra comma"),
    "comma at the end": ("a,", 1, "Unexpected EOF"),
    "snippet twice": ("(s) {\n}\n(s) {\n}", 3, "redeclaration of previously declared snippet s"),
    "snippet without a body": ("(s)\nlog", 1, "expecting '{'"),
    "snippet never ends": ("(s) {\n log {\n}", 1, "never ends"),
    "snippet of itself": ("(s) {\n import s\n}\n. {\n import s\n}", 2, "maximum import depth"),
    "missing file": (". {\n import gone\n}", 2, "File to import not found: /nowhere/gone"),
    "import without a name": (". {\n import\n}", 2, "Wrong argument count or unexpected line ending after 'import'"),
    "import of two": (". {\n import a b\n}", 2, "Import takes only one argument (glob pattern or file)"),
    "import of nothing": ('. {\n import ""\n}', 2, "Import requires a non-empty filepath"),
    "import of sets": (". {\n import [ab]\n}", 2, "Glob pattern may only contain one wildcard (*)"),
    "import of many": (". {\n import *a*\n}", 2, "Glob pattern may only contain one wildcard (*)"),
    "too deep": (". {\n log" + " {\n a" * 100 + "\n}" * 101, 66, "nested more than"),
}


@pytest.mark.parametrize("case", REFUSES)
def test_refuses_with_file_and_line(case: str) -> None:
    text, line, words = REFUSES[case]
    with pytest.raises(CorefileError) as caught:
        read(text)
    assert str(caught.value).startswith(f"/nowhere/Corefile:{line} - Error during parsing: ")
    assert words in caught.value.text


def test_fills_in_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZONE", "example.org")
    monkeypatch.setenv("PLUGIN", "log")
    monkeypatch.delenv("GONE", raising=False)
    text = '{$ZONE}:{%GONE%}53 {\n {$PLUGIN} "{$ZONE} {{ $x }}" {{$GONE}} {$} {%%}\n}'
    assert read(text) == [(["example.org:53"], [["log", "example.org {{ $x }}", "{}", "{$}", "{%%}"]])]


def test_imports_files_relative_to_the_one_that_imports(tmp_path: Path) -> None:
    (tmp_path / "custom").mkdir()
    (tmp_path / "custom" / "b.override").write_text("import more/log.conf\n")
    (tmp_path / "custom" / "a.override").write_text("errors\n")
    (tmp_path / "custom" / "x.server").write_text("x {\n whoami\n}\n")
    (tmp_path / "custom" / "y.server").write_text("y\nwhoami\n")
    (tmp_path / "custom" / "more").mkdir()
    (tmp_path / "custom" / "more" / "log.conf").write_text("log")
    (tmp_path / "Corefile").write_text(". {\n import custom/*.override\n ready\n}\nimport custom/*.server\nz {\n}")
    parsed = Parser().parse(str(tmp_path / "Corefile"))
    assert [(block.keys, [line.name for line in block.directives]) for block in parsed.blocks] == [
        (["."], ["errors", "log", "ready"]), (["x"], ["whoami"]), (["y"], ["whoami"]), (["z"], []),
    ]  # fmt: skip
    directory = tmp_path / "custom"
    assert parsed.optional == {
        str(directory / "a.override"): str(directory / "a.override"),
        str(directory / "b.override"): str(directory / "b.override"),
        str(directory / "more" / "log.conf"): str(directory / "b.override"),
        str(directory / "x.server"): str(directory / "x.server"),
        str(directory / "y.server"): str(directory / "y.server"),
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [("log\n}\n", 2), ("log {\n class all\n", 1), ('log "x\n', 1), ("frobnicate", 1), ("import gone", 1)],
)
def test_names_the_imported_file_that_is_wrong(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "bad.override").write_text(text)
    (tmp_path / "Corefile").write_text(". {\n errors\n import *.override\n ready\n}")
    with pytest.raises(CorefileError) as caught:
        Parser().parse(str(tmp_path / "Corefile"))
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "bad.override"), line)


def test_a_directory_is_no_file_to_import(tmp_path: Path) -> None:
    (tmp_path / "d.override").mkdir()
    (tmp_path / "Corefile").write_text(". {\n import *.override\n}")
    with pytest.raises(CorefileError, match="is a directory"):
        Parser().parse(str(tmp_path / "Corefile"))


@pytest.mark.parametrize("kind", ["device", "fifo", "large"])
def test_only_regular_files_of_some_size_are_imported(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "x.override"
    if kind == "device":
        target.symlink_to("/dev/zero")
    elif kind == "fifo":
        os.mkfifo(target)
    else:
        with target.open("wb") as file:
            file.truncate(5 * 1024 * 1024)
    (tmp_path / "Corefile").write_text(". {\n import *.override\n}")
    with pytest.raises(CorefileError, match=r"Could not import .*x\.override: is (not a regular file|larger than)"):
        Parser().parse(str(tmp_path / "Corefile"))


def test_imports_that_multiply_end(tmp_path: Path) -> None:
    levels = "".join(f"(s{level}) {{\n" + f" import s{level - 1}\n" * 10 + "}\n" for level in range(1, 8))
    with pytest.raises(CorefileError, match=r"maximum snippet import depth|more than 500000 words"):
        read("(s0) {\n log\n}\n" + levels + ". {\n import s7\n}")


_words = st.sampled_from(
    [
        "{",
        "}",
        "\n",
        "\n",
        "import",
        "(s)",
        "s",
        "log",
        "errors",
        ".",
        "a,",
        '"',
        '"x y"',
        "#",
        "{$HOME}",
        "\\",
        "*.x",
        "\r",
    ]
)


@given(st.lists(_words, max_size=40).map(" ".join) | st.text() | st.binary())
def test_any_text_reads_or_is_refused(text: str | bytes) -> None:
    try:
        parsed: Parsed = Parser().parse_text(
            text if isinstance(text, bytes) else text.encode(errors="replace"), "/nowhere/C"
        )
    except CorefileError as error:
        refused = error
    else:
        assert all(block.keys for block in parsed.blocks)
        return
    assert refused.file == "/nowhere/C"
    assert refused.line > 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("300ms", 0.3),
        ("1.5h", 5400),
        ("2h45m", 9900),
        ("-5s", -5),
        (".5s", 0.5),
        ("1us", 1e-6),
        ("1µs", 1e-6),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "1.5.2s", "1 s", "٣s", "9999999h99999999999h", "1h-5m"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(0, 10**12).map(lambda number: number / 1000))
def test_durations_print_as_they_read(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)

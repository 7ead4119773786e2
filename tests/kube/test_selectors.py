import pytest

from wherry.kube.objects import LabelSelector, LabelSelectorRequirement
from wherry.kube.selectors import (
    EVERYTHING,
    NOTHING,
    SelectorError,
    field_of,
    from_labels,
    from_object,
    parse,
    parse_fields,
    valid_label_key,
    valid_label_value,
)

LABELS = {"app": "web", "tier": "front", "n": "5", "x.y/z": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web , tier=front", True),
        ("app=db", False),
        ("app!=db", True),
        ("app!=web", False),
        ("missing!=x", True),
        ("app in (web, db)", True),
        ("app in (db)", False),
        ("missing in (db)", False),
        ("app notin (db)", True),
        ("missing notin (db)", True),
        ("app notin (web,db)", False),
        ("app", True),
        ("!app", False),
        ("! missing", True),
        ("missing", False),
        ("n>4", True),
        ("n > 5", False),
        ("n<6", True),
        ("app>4", False),
        ("missing<4", False),
        ("x.y/z=", True),
        ("x.y/z=,app", True),
        ("x.y/z in ()", True),
        ("in", False),
        ("notin in (in)", False),
    ],
)
def test_label_selectors(text, matches):
    selector = parse(text)
    assert selector.matches(LABELS) is matches
    assert parse(str(selector)) == selector


@pytest.mark.parametrize(
    "text",
    ["a=b,", ",a", "a=b c=d", "a in b", "a in (b", "a in (b c)", "=b", "a=-b", "a>b", "a!", "!a=b", "_/a", "a/b/c",
     "A b", "a=" + "x" * 64, "(a)", "a in (,&)"],
)  # fmt: skip
def test_malformed_label_selectors(text):
    with pytest.raises(SelectorError):
        parse(text)


def test_selector_objects():
    def expression(key, operator, *values):
        return LabelSelectorRequirement(key=key, operator=operator, values=values)

    assert from_object(None) is NOTHING
    assert from_object(LabelSelector()) == EVERYTHING
    assert not NOTHING.matches({})
    assert EVERYTHING.matches({})
    both = LabelSelector(
        match_labels={"app": "web"},
        match_expressions=(
            expression("tier", "In", "front", "back"),
            expression("old", "DoesNotExist"),
            expression("n", "Exists"),
            expression("n", "NotIn", "6"),
        ),
    )
    assert from_object(both).matches(LABELS)
    assert not from_object(both).matches(LABELS | {"old": ""})
    assert str(from_object(both)) == "app=web,tier in (front,back),!old,n,n notin (6)"
    for wrong in (expression("a", "Like", "b"), expression("a", "In"), expression("a", "Exists", "b")):
        with pytest.raises(SelectorError):
            from_object(LabelSelector(match_expressions=(wrong,)))


def test_plain_maps():
    assert from_labels({"b": "2", "a": "1"}).matches({"a": "1", "b": "2", "c": "3"})
    assert str(from_labels({"b": "2", "a": "1"})) == "a=1,b=2"


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("metadata.name=a", True),
        ("metadata.name==a,status.phase!=Failed", True),
        ("metadata.name!=a", False),
        ("spec.nodeName=", True),
        ("spec.nodeName!=", False),
        (r"odd=x\,y\=z\\", True),
        ("metadata.name=a,,", True),
    ],
)
def test_field_selectors(text, matches):
    fields = {"metadata.name": "a", "status.phase": "Running", "odd": "x,y=z\\"}
    selector = parse_fields(text)
    assert selector.matches(fields) is matches
    assert selector.matches(lambda path: fields.get(path, "")) is matches
    assert parse_fields(str(selector)) == selector


@pytest.mark.parametrize("text", ["a", "=b", "a=b=c", "a=\\", "!a=b"])
def test_malformed_field_selectors(text):
    with pytest.raises(SelectorError):
        parse_fields(text)


def test_required_field():
    selector = parse_fields("spec.nodeName=n,metadata.name!=x")
    assert selector.required("spec.nodeName") == "n"
    assert selector.required("metadata.name") is None


def test_fields_of_dictionaries():
    obj = {"metadata": {"name": "a"}, "spec": {"unschedulable": True, "port": 5, "list": []}}
    assert [field_of(obj, path) for path in ("metadata.name", "spec.unschedulable", "spec.port", "x.y")] == [
        "a", "true", "5", "",
    ]  # fmt: skip


def test_label_syntax():
    assert all(map(valid_label_key, ["a", "a.b/c", "A_b.c-1", "a" * 63, "a." * 126 + "b/" + "n"]))
    assert not any(map(valid_label_key, ["", "/a", "a/", "-a", "a" * 64, "A/b", "a/b/c", "a b", "a" * 254 + "/b"]))
    assert valid_label_value("")
    assert not valid_label_value("a b")

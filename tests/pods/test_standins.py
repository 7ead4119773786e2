import msgspec
import pytest

from wherry.kube.objects import Pod
from wherry.pods.model import Behaviour, Port
from wherry.pods.runtime.standin import proxy
from wherry.pods.standins import behaviour_of, certificate_names, duration, run_of

PORTS = (Port(80), Port(8443), Port(53, "UDP"))


def pod(annotations, **spec):
    ports = [{"containerPort": 80}, {"containerPort": 8443, "name": "https"}, {"containerPort": 53, "protocol": "UDP"}]
    return msgspec.convert(
        {
            "metadata": {"name": "web-0", "namespace": "shop", "annotations": annotations, "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "x", "ports": ports}], **spec},
        },
        Pod,
    )


def read(annotations, ports=PORTS):
    subject = pod({f"wherry.dev/stand-in{name}": value for name, value in annotations.items()})
    return behaviour_of(subject, subject.spec.containers[0], ports)


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, Behaviour()),
        ({"": "tls"}, Behaviour(tls=(80, 8443))),
        ({"": "tls:https, proxy-protocol:80"}, Behaviour(tls=(8443,), proxy_protocol=(80,))),
        ({"": "tls:8443,tls:80,"}, Behaviour(tls=(80, 8443))),
        ({"-delay": "250ms"}, Behaviour(delay=0.25)),
        ({"-delay": "1m0.5s"}, Behaviour(delay=60.5)),
        ({"-status": "503"}, Behaviour(status=503)),
        ({"-status": " 204 "}, Behaviour(status=204)),
        ({"-body": "64Ki"}, Behaviour(body=65536)),
        ({"-body": "0"}, Behaviour(body=0)),
        ({"-status": "503", "-status.web": "404", "-status.other": "500"}, Behaviour(status=404)),
    ],
)
def test_what_annotations_say(annotations, expected):
    assert read(annotations) == (expected, ())


@pytest.mark.parametrize(
    ("annotations", "says"),
    [
        ({"": "tsl"}, "annotation wherry.dev/stand-in: 'tsl' is not known: there are tls and proxy-protocol"),
        ({"": "tls:53"}, "annotation wherry.dev/stand-in: 'tls:53' names no TCP port of the container"),
        ({"": "tls:http"}, "'tls:http' names no TCP port"),
        ({"-delay": "250"}, "annotation wherry.dev/stand-in-delay: '250' is not a duration such as 250ms"),
        ({"-delay": "2h"}, "is longer than 1h"),
        ({"-delay": "-1s"}, "is not a duration"),
        ({"-status": "99"}, "annotation wherry.dev/stand-in-status: '99' is not an HTTP status from 200 to 599"),
        ({"-status": "100"}, "is not an HTTP status"),
        ({"-body": "64KB"}, "annotation wherry.dev/stand-in-body: '64KB' is not a quantity such as 64Ki"),
        ({"-body": "2Gi"}, "is not between 0 and 1Gi"),
        ({"-body": "-1"}, "is not between 0 and 1Gi"),
        ({"-body.web": "x"}, "annotation wherry.dev/stand-in-body.web: "),
    ],
)
def test_what_cannot_be_read_is_named_and_left_out(annotations, says):
    found, problems = read(annotations)
    assert found == Behaviour()
    (problem,) = problems
    assert says in problem
    assert problem.endswith("; it is ignored")


def test_one_wrong_annotation_leaves_the_others():
    found, problems = read({"": "tls:80, fast", "-delay": "soon", "-status": "404"})
    assert found == Behaviour(tls=(80,), status=404)
    assert len(problems) == 2


@pytest.mark.parametrize(
    ("annotations", "run", "problems"),
    [
        ({}, "", 0),
        ({"wherry.dev/run": "process"}, "process", 0),
        ({"wherry.dev/run": "process", "wherry.dev/run.web": "stand-in"}, "stand-in", 0),
        ({"wherry.dev/run": "process", "wherry.dev/run.db": "stand-in"}, "process", 0),
        ({"wherry.dev/run": "yes"}, "", 1),
    ],
)
def test_whether_a_process_or_a_stand_in_is_asked_for(annotations, run, problems):
    subject = pod(annotations)
    found = run_of(subject, subject.spec.containers[0])
    assert (found[0], len(found[1])) == (run, problems)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("1s", 1), ("1.5s", 1.5), ("1h1m1s", 3661), ("10us", 1e-5), ("5µs", 5e-6)]
)
def test_durations_are_written_as_in_go(text, seconds):
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "1d", "1s ", "1s2"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="is not a duration"):
        duration(text)


def test_a_certificate_is_for_every_name_of_the_pod():
    subject = pod({"wherry.dev/stand-in-names": "api.example.com, *.example.org, no_name"}, subdomain="db")
    names = certificate_names(
        subject, subject.spec.containers[0], domain="cluster.local", addresses=("10.42.0.5",), services=("web",)
    )
    assert {"web-0", "web", "web.shop.svc", "web.shop.svc.cluster.local", "10.42.0.5", "*.db.shop.svc"} <= set(names)
    assert {"api.example.com", "*.example.org", "localhost"} <= set(names)
    assert "no_name" not in names


FOUR = b"\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02"
V2 = b"\r\n\r\n\x00\r\nQUIT\n"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET", proxy.Header(1, "192.0.2.1:1", "192.0.2.2:2", 36)),
        (b"PROXY TCP6 ::1 ::2 1 2\r\n", proxy.Header(1, "[::1]:1", "[::2]:2", 24)),
        (b"PROXY UNKNOWN\r\nx", proxy.Header(1, "", "", 15)),
        (b"PROXY UNKNOWN whatever\r\nx", proxy.Header(1, "", "", 24)),
        (b"GET / HTTP/1.1", proxy.Header(0, "", "", 0)),
        (b"PRO", None),
        (b"PROXY TCP4 192.0.2.1", None),
        (V2[:5], None),
        (V2 + b"\x21\x11\x00\x0c\xc0\x00\x02\x01", None),
        (V2 + b"\x21\x11\x00\x0c" + FOUR, proxy.Header(2, "192.0.2.1:1", "192.0.2.2:2", 28)),
        (V2 + b"\x20\x00\x00\x00rest", proxy.Header(2, "", "", 16)),
        (V2 + b"\x21\x31\x00\x02ab", proxy.Header(2, "", "", 18)),
    ],
)
def test_proxy_headers(data, expected):
    assert proxy.read(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        b"PROXY TCP4 a b 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 99999\r\n",
        b"PROXY SCTP 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY " + b"x" * 200,
        V2 + b"\x31\x11\x00\x00",
        V2 + b"\x21\x11\x00\x04abcd",
    ],
)
def test_what_is_no_proxy_header(data):
    with pytest.raises(proxy.ProxyError):
        proxy.read(data)

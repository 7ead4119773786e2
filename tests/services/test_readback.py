"""Reading the table back, on machines with and without the names of protocols."""

import pytest

from wherry.services import names
from wherry.services.content import EMPTY
from wherry.services.readback import content_of


@pytest.mark.parametrize(("said", "meant"), [("tcp", "tcp"), (6, "tcp"), (17, "udp"), ("132", "sctp")])
def test_protocols_are_known_by_name_and_number(said, meant):
    element = [{"concat": ["10.43.0.1", said, 80]}, {"goto": {"target": "pick-4-tcp-2"}}]
    services = {"map": {"name": names.SERVICES[4, ""], "type": "x", "elem": [element]}}
    found = content_of([services], EMPTY).elements
    assert found == {(names.SERVICES[4, ""], ("10.43.0.1", meant, "80")): "goto pick-4-tcp-2"}

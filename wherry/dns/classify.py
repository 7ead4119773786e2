"""What sort of answer a message is: for `log`'s classes and for `minimal`."""

from typing import Literal, NamedTuple

from wherry.dns import message as m
from wherry.dns import records
from wherry.dns.message import Message

Class = Literal["success", "denial", "error"]


class Sort(NamedTuple):
    """A finer and a coarser word for it, both CoreDNS'."""

    type: str
    klass: Class


_UPDATE = 5
_FAILED = Sort("OTHERERROR", "error")


def sort_of(message: Message | None) -> Sort:
    """The sort of a reply; None, silence, counts as an error."""
    if message is None:
        return _FAILED
    if message.opcode == _UPDATE:
        return Sort("UPDATE", "error")
    if message.opcode == m.NOTIFY or (message.question and message.question.type in (records.AXFR, records.IXFR)):
        return Sort("META", "error")
    if message.answer:
        return Sort("NOERROR", "success") if message.rcode == m.NOERROR else _of_rcode(message, answered=True)
    if message.rcode != m.NOERROR:
        return _of_rcode(message, answered=False)
    types = {record.type for record in message.authority}
    if records.SOA in types:
        return Sort("NODATA", "denial")
    return Sort("DELEGATION" if records.NS in types else "NOERROR", "success")


def _of_rcode(message: Message, *, answered: bool) -> Sort:
    if message.rcode == m.NXDOMAIN and not answered:
        return Sort("NXDOMAIN", "denial")
    if message.rcode in (m.SERVFAIL, m.NOTIMP):
        return Sort("SERVERERROR", "error")
    return _FAILED

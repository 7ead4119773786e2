"""Rules for EDNS options of queries (RFC 6891 §6.1.2): private ones, NSID (RFC 5001), client subnet (RFC 7871)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network

from wherry.dns import names
from wherry.dns.corefile.model import Directive
from wherry.dns.message import NSID, SUBNET, Edns
from wherry.dns.plugin import Request
from wherry.dns.plugins.rewrite.answers import AnswerRule, Option

_SIZE = 4096
"""What an OPT record announces that a rule adds."""
_ACTIONS = ("set", "append", "replace", "unset")
_LABEL = re.compile(r"\{[^{}/]+/[^{}]+\}")
Data = Callable[[Request], bytes | None]


class OptionRule:
    """`edns0 TYPE ACTION …`: does one thing to one option."""

    def __init__(self, code: int, action: str, data: Data, *, revert: bool) -> None:
        """``data`` gives the option's octets for a request, None where it has none."""
        self.code = code
        self.action = action
        self.revert = revert
        self._data = data

    def apply(self, request: Request) -> tuple[Request, list[AnswerRule]] | None:
        """The request with the option changed and what undoes that in the reply; None where nothing is to be done."""
        edns = request.query.edns or Edns(_SIZE)
        before = next((value for code, value in edns.options if code == self.code), None)
        if self.action == "unset":
            kept = tuple(option for option in edns.options if option[0] != self.code)
            return self._with(request, edns, kept), []
        data = self._data(request)
        if (
            data is None
            or (before is None and self.action == "replace")
            or (before is not None and self.action == "append")
        ):
            return None
        if before is None:
            options = (*edns.options, (self.code, data))
        else:
            place = edns.options.index((self.code, before))
            options = (*edns.options[:place], (self.code, data), *edns.options[place + 1 :])
        return self._with(request, edns, options), [Option(self.code, before)] if self.revert else []

    @staticmethod
    def _with(request: Request, edns: Edns, options: tuple[tuple[int, bytes], ...]) -> Request:
        changed = Edns(edns.size, edns.dnssec_ok, edns.version, options)
        return replace(request, query=request.query.copy(edns=changed))


def read(line: Directive, args: list[str]) -> OptionRule:
    """Read what follows `edns0`; raises CorefileError."""
    if len(args) < 2:
        raise line.error("too few arguments for an EDNS0 rule")
    kind, action, *rest = (args[0].lower(), args[1].lower(), *args[2:])
    if action not in _ACTIONS:
        raise line.error(f"invalid action: '{action}'; there are {', '.join(_ACTIONS)}")
    revert = bool(rest) and rest[-1] == "revert" and action != "unset"
    if revert:
        rest.pop()
    wanted = {"local": 1 if action == "unset" else 2, "nsid": 0, "subnet": 0 if action == "unset" else 2}.get(kind)
    if wanted is None:
        raise line.error(f"invalid rule type '{kind}' for EDNS0; there are local, nsid, subnet")
    if len(rest) != wanted:
        raise line.error(f"an EDNS0 {kind} {action} rule takes {wanted} more arguments, not {len(rest)}")
    if kind == "nsid":
        return OptionRule(NSID, action, lambda request: b"", revert=revert)
    if kind == "subnet":
        lengths = [line.integer(text, 0, most) for text, most in zip(rest, (32, 128), strict=False)]
        return OptionRule(SUBNET, action, lambda request: _subnet(request, lengths), revert=revert)
    try:
        code = int(rest[0], 0)
    except ValueError as error:
        raise line.error(f"invalid option code '{rest[0]}'") from error
    if not 0 <= code <= 0xFFFF:
        raise line.error(f"option code {code} is not within 0 and 65535")
    return OptionRule(code, action, _local(line, rest[1]) if action != "unset" else lambda request: b"", revert=revert)


def _local(line: Directive, text: str) -> Data:
    if text.startswith("{") and text.endswith("}"):
        return _variable(line, text)
    if text.startswith("0x"):
        try:
            octets = bytes.fromhex(text[2:])
        except ValueError as error:
            raise line.error(f"'{text}' is no hexadecimal data") from error
    else:
        octets = text.encode()
    return lambda request: octets


def _variable(line: Directive, text: str) -> Data:
    known: dict[str, Data] = {
        "{qname}": lambda request: names.to_text(request.name).encode(),
        "{qtype}": lambda request: request.type.to_bytes(2, "big"),
        "{client_ip}": lambda request: _packed(request.client),
        "{server_ip}": lambda request: _packed(request.local),
        "{client_port}": lambda request: request.port.to_bytes(2, "big"),
        "{server_port}": lambda request: request.local_port.to_bytes(2, "big"),
        "{protocol}": lambda request: b"udp" if request.transport == "udp" else b"tcp",
    }
    if text in known:
        return known[text]
    if not _LABEL.fullmatch(text):
        raise line.error(f"unsupported variable name '{text}'; there are {', '.join(known)} and metadata labels")
    label = text[1:-1]

    def metadata(request: Request) -> bytes | None:
        value = request.metadata.get(label)
        return value().encode() or None if value else None

    return metadata


def _packed(text: str) -> bytes | None:
    address = text.partition("%")[0]
    return ip_address(address).packed if address else None


def _subnet(request: Request, lengths: list[int]) -> bytes | None:
    """Family, length, scope 0, and as many octets of the client's address as the length needs (RFC 7871 §6)."""
    if not request.client:
        return None
    address = ip_address(request.client.partition("%")[0])
    length = lengths[0] if address.version == 4 else lengths[1]
    network = ip_network((address, length), strict=False)
    family = 1 if address.version == 4 else 2
    return family.to_bytes(2, "big") + bytes((length, 0)) + network.network_address.packed[: -(-length // 8)]

"""`view NAME { expr EXPRESSION… }`: a block only for queries for which all expressions are true.

https://coredns.io/plugins/view/; blocks with one zone are tried from the top. An expression that fails, say as an
argument is no address, is not true.
"""

import ipaddress
from collections.abc import Callable
from typing import Any

from wherry.dns import message as m
from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive, once
from wherry.dns.expression.compile import Node, compile_expression
from wherry.dns.plugin import Request

_FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "incidr": (2, lambda request, address, network: _in_network(address, network)),
    "metadata": (1, lambda request, label: request.metadata.get(label, str)()),
    "type": (0, lambda request: records.type_name(request.type)),
    "name": (0, lambda request: names.to_text(request.folded)),
    "class": (0, lambda request: records.class_name(request.klass)),
    "proto": (0, lambda request: "udp" if request.transport == "udp" else "tcp"),
    "size": (0, lambda request: len(m.encode(request.query))),
    "client_ip": (0, lambda request: request.client),
    "port": (0, lambda request: str(request.port)),
    "id": (0, lambda request: request.query.id),
    "opcode": (0, lambda request: request.query.opcode),
    "do": (0, lambda request: request.dnssec_ok),
    "bufsize": (0, lambda request: request.limit),
    "server_ip": (0, lambda request: request.local),
    "server_port": (0, lambda request: str(request.local_port)),
}
"""CoreDNS' functions of a request, with how many arguments an expression gives."""
COUNTS = {name: count for name, (count, _) in _FUNCTIONS.items()}
"""How many arguments each function takes, for whoever compiles expressions about requests."""


class Environment(dict[str, Callable[..., Any]]):
    """The functions of one request, bound when first called."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def __missing__(self, name: str) -> Callable[..., Any]:
        function = _FUNCTIONS[name][1]
        bound = self[name] = lambda *arguments: function(self._request, *arguments)
        return bound


def holds(nodes: list[Node], request: Request) -> bool:
    """Whether all expressions are true."""
    environment = Environment(request)
    try:
        return all(node(environment) is True for node in nodes)
    except (TypeError, ValueError):
        return False


def _in_network(address: str, network: str) -> bool:
    host = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped:
        host = host.ipv4_mapped
    if "/" not in network:
        raise ValueError(f"{network} has no prefix length")
    return host in ipaddress.ip_network(network, strict=False)


def setup(directives: list[Directive], block: Block) -> None:
    """Read the directive into the block; raises CorefileError."""
    directive = once(directives)
    if len(directive.args) != 1:
        raise directive.wrong_arguments()
    nodes = []
    for line in directive.body:
        if line.name != "expr":
            raise line.unknown_property()
        line.no_body()
        try:
            nodes.append(compile_expression(" ".join(line.args), COUNTS))
        except ValueError as error:
            raise line.error(str(error)) from error
    block.view = directive.args[0]
    block.filters.append(lambda request: holds(nodes, request))

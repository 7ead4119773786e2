"""`bind ADDRESS|INTERFACE… { except ADDRESS|INTERFACE… }`: where a block listens (https://coredns.io/plugins/bind/)."""

import ipaddress

from wherry.dns.corefile.model import Block, Directive


def setup(directives: list[Directive], block: Block) -> None:
    """Read the directives into the block; raises CorefileError."""
    interfaces = _Interfaces()
    addresses: list[str] = []
    for directive in directives:
        if not directive.args:
            raise directive.error("at least one address or interface name is expected")
        excepted: list[str] = []
        for line in directive.body:
            if line.name != "except":
                raise line.error(f'invalid option "{line.name}"')
            line.no_body()
            if not line.args:
                raise line.error("at least one address or interface must be given to except subdirective")
            excepted += _listed(line, interfaces)
        addresses += [address for address in _listed(directive, interfaces) if address not in excepted]
    if not addresses:
        raise directives[0].error("no address is left to listen on")
    block.bind = tuple(dict.fromkeys(addresses))


class _Interfaces:
    """Addresses by interface, asked for when the first argument is no address."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] | None = None

    def addresses(self, interface: str) -> list[str] | None:
        if self._found is None:
            from wherry.kernel.netlink import Netlink

            with Netlink() as netlink:
                links = {link.index: link.name for link in netlink.link_list()}
                self._found = {name: [] for name in links.values()}
                for address in netlink.addr_list():
                    ip, name = address.address, links[address.dev]
                    # A link-local address means nothing without its interface.
                    self._found[name].append(f"{ip}%{name}" if ip.version == 6 and ip.is_link_local else str(ip))
        return self._found.get(interface)


def _listed(line: Directive, interfaces: _Interfaces) -> list[str]:
    listed: list[str] = []
    for text in line.args:
        try:
            listed.append(str(ipaddress.ip_address(text)))
        except ValueError as error:
            found = interfaces.addresses(text)
            if found is None:
                raise line.error(f'not a valid IP address or interface name: "{text}"') from error
            listed += found
    return listed

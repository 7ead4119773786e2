"""Addresses of HTTP endpoints as directives write them: `:8080`, `localhost:9153`, `[::1]:8181`."""

from wherry.dns.corefile.model import Directive


def endpoint_of(directive: Directive, text: str) -> tuple[str, int]:
    """Host, "" for all of them, and port; raises CorefileError."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise directive.error(f"address {text}: missing port in address")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise directive.error(f"address {text}: too many colons in address")
    return host, directive.integer(port, 0, 65535)

"""`tls CERT KEY [CA] { client_auth nocert|verify_if_given|require_and_verify }`: keys of DNS over TLS (RFC 7858).

https://coredns.io/plugins/tls/. Fronts open the files; here they are only tried, so that an error names the line.
"""

import ssl

from wherry.dns.corefile.model import Block, Clients, Directive, TlsFiles, once

_CLIENTS: dict[str, Clients] = {"nocert": "none", "verify_if_given": "optional", "require_and_verify": "required"}


def setup(directives: list[Directive], block: Block) -> None:
    """Read the directive into the block; raises CorefileError."""
    directive = once(directives)
    if not directive.args:
        raise directive.error("ACME is not part of wherry; name the files: tls CERT KEY [CA]")
    if not 2 <= len(directive.args) <= 3:
        raise directive.wrong_arguments()
    clients: Clients = "none"
    for line in directive.body:
        if line.name == "keylog":
            raise line.error("keylog is not part of wherry; there is client_auth")
        if line.name != "client_auth":
            raise line.error(f"unknown option '{line.name}'")
        word = line.argument()
        if word in ("request", "require"):
            raise line.error(f"'{word}' would take any certificate; there are {', '.join(_CLIENTS)}")
        if word not in _CLIENTS:
            raise line.error(f"unknown authentication type '{word}'; there are {', '.join(_CLIENTS)}")
        clients = _CLIENTS[word]
    cert, key, ca = [*(str(block.config.path(text)) for text in directive.args), ""][:3]
    if clients != "none" and not ca:
        raise directive.error("client_auth needs the authority that clients' certificates come from: tls CERT KEY CA")
    _try(directive, cert, key, ca)
    block.tls = TlsFiles(cert, key, ca, clients)


def _try(directive: Directive, cert: str, key: str, ca: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    what = f"{cert} and {key}"
    try:
        context.load_cert_chain(cert, key)
        if ca:
            what = ca
            context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise directive.error(f"could not load {what}: {error.reason or error}") from error
    except OSError as error:
        raise directive.error(f"could not load {what}: {error.strerror}") from error

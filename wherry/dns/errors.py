"""What can go wrong in cluster DNS.

``DnsError``
├── ``NameError_``: text or bytes are no domain name
├── ``MessageError``: bytes are no DNS message; carries the rcode to answer with
├── ``ServeError``: a plugin cannot answer; carries the rcode to answer with
└── ``CorefileError`` (in ``wherry.dns.corefile``): a configuration cannot be used; names file and line
"""

from __future__ import annotations


class DnsError(Exception):
    """Anything that cluster DNS cannot do; its text is one line for a person."""


class NameError_(DnsError):
    """Text or bytes are no domain name (RFC 1035 §2.3.4: labels of 63, names of 255 octets)."""


class MessageError(DnsError):
    """Bytes are no DNS message. ``rcode`` is what to answer with; ``asked``: the question itself could be read."""

    def __init__(self, rcode: int, text: str) -> None:
        super().__init__(text)
        self.rcode = rcode
        self.asked = False


class ServeError(DnsError):
    """A plugin cannot answer: the client gets the bare ``rcode``, the plugin `errors` logs ``text``."""

    def __init__(self, rcode: int, text: str) -> None:
        super().__init__(text)
        self.rcode = rcode
        self.text = text

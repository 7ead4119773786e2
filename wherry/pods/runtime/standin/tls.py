"""TLS for a stand-in's connections, without I/O. Imported with the first connection that needs it."""

from __future__ import annotations

import os
import ssl

_PIECE = 64 * 1024


class TlsError(Exception):
    """The handshake failed or the client broke the protocol."""


def context(certificate: str) -> ssl.SSLContext:
    """A server's context from certificate and key in one PEM text. Raises `TlsError` when they cannot be used."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["h2", "http/1.1"])
    # OpenSSL reads files only; this one has no name and is gone with its descriptor.
    fd = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(fd, certificate.encode())
        made.load_cert_chain(f"/proc/self/fd/{fd}")
    except (ssl.SSLError, OSError) as error:
        raise TlsError(f"certificate: {error}") from error
    finally:
        os.close(fd)
    return made


class Tls:
    """One connection: `feed` what arrives, encrypt what is to be sent, and send `outgoing` after every call."""

    __slots__ = ("_in", "_object", "_out", "ready", "started")

    def __init__(self, made: ssl.SSLContext) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._object = made.wrap_bio(self._in, self._out, server_side=True)
        self.started = False
        self.ready = False

    def feed(self, data: bytes) -> bytes:
        """What the client says in these bytes. Raises `TlsError`."""
        self.started = True
        self._in.write(data)
        plain = bytearray()
        try:
            if not self.ready:
                self._object.do_handshake()
                self.ready = True
            while piece := self._object.read(_PIECE):
                plain += piece
        except ssl.SSLWantReadError:
            pass  # all there is has been taken in
        except ssl.SSLZeroReturnError:
            pass  # the client's farewell; the end of its connection follows
        except ssl.SSLError as error:
            raise TlsError(error.reason or str(error)) from error
        return bytes(plain)

    def encrypt(self, data: bytes) -> None:
        """Put what is to be sent into `outgoing`."""
        if data:
            self._object.write(data)

    def farewell(self) -> None:
        """End our side."""
        try:
            self._object.unwrap()
        except (ssl.SSLError, ValueError):
            return  # the client has not said its own; ours is on its way all the same

    def outgoing(self) -> bytes:
        """The bytes to send now."""
        return self._out.read()

    @property
    def described(self) -> str:
        """Version and name asked for, for the answer."""
        return self._object.version() or ""

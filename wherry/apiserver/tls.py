"""The TLS side of the front: who we are, and whose client certificates we look at."""

from __future__ import annotations

import ssl

from wherry.apiserver.config import ConfigError, TlsFiles


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that asks for client certificates but does not demand them; raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(cafile=str(files.client_authority))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot use the serving certificate {files.certificate}: {error}") from error
    return context

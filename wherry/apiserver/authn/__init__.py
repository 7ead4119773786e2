"""Who asks: client certificates, bearer tokens, service-account tokens, impersonation."""

from wherry.apiserver.authn.authenticator import Authenticator
from wherry.apiserver.authn.identity import ANONYMOUS, Identity

__all__ = ["ANONYMOUS", "Authenticator", "Identity"]

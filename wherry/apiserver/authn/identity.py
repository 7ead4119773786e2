"""A caller, as authentication finds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wherry.apiserver.kinds.model import User

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
MASTERS = "system:masters"
SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"

Extra = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Identity(User):
    """Name, uid, groups and whatever else an authenticator knows."""

    extra: Extra = ()

    def info(self) -> dict[str, Any]:
        """The `UserInfo` of reviews."""
        found: dict[str, Any] = {"username": self.name}
        if self.uid:
            found["uid"] = self.uid
        if self.groups:
            found["groups"] = list(self.groups)
        if self.extra:
            found["extra"] = {key: list(values) for key, values in self.extra}
        return found


ANONYMOUS = Identity("system:anonymous", "", (UNAUTHENTICATED,))


def authenticated(name: str, uid: str = "", groups: tuple[str, ...] = (), extra: Extra = ()) -> Identity:
    """An identity with the group of everyone who is known."""
    if AUTHENTICATED not in groups:
        groups = (*groups, AUTHENTICATED)
    return Identity(name, uid, groups, extra)


def service_account_groups(namespace: str) -> tuple[str, ...]:
    """The groups of every service account of a namespace."""
    return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")


def split_service_account(name: str) -> tuple[str, str] | None:
    """Namespace and name of a service account's user name."""
    if not name.startswith(SERVICE_ACCOUNT_PREFIX):
        return None
    namespace, _, account = name[len(SERVICE_ACCOUNT_PREFIX) :].partition(":")
    return (namespace, account) if namespace and account and ":" not in account else None

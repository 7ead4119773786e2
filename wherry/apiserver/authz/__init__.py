"""What a caller may do: role-based access control, its bootstrap roles, and the guard against granting oneself more."""

from wherry.apiserver.authz.rbac import Rbac
from wherry.apiserver.authz.rules import Attributes, Rule

__all__ = ["Attributes", "Rbac", "Rule"]

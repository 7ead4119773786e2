"""What all tests share: throw-away namespaces, and hypothesis without a database (other users run these tests too)."""

from hypothesis import settings

from wherry.kernel.testing import *  # noqa: F403

settings.register_profile("wherry", database=None, deadline=None)
settings.load_profile("wherry")

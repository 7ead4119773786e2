from hypothesis import settings

from wherry.kernel.testing import *  # noqa: F403

# An ordinary user cannot write a database of examples into somebody else's checkout.
settings.register_profile("wherry", database=None, deadline=None)
settings.load_profile("wherry")

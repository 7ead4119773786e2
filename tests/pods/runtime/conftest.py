from wherry.kernel.testing import *  # noqa: F403

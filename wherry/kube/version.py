"""The version of Kubernetes that this one is compatible with."""

MAJOR, MINOR = "1", "36"
GIT_VERSION = f"v{MAJOR}.{MINOR}.2+wherry1"
"""What the API server and the nodes report."""

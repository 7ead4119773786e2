"""Fakes shipped as code: an API server in memory, for tests of everything that talks to Kubernetes."""

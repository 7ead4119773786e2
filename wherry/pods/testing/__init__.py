"""Fakes shipped as code: a runtime, pod networks, and a whole node in memory for tests of the pod controller."""

from wherry.pods.testing.fakes import FakeRuntime, FakeSandboxes, FakeSession

__all__ = ["FakeRuntime", "FakeSandboxes", "FakeSession"]

"""Talking to any Kubernetes API: objects, selectors, client, informer, work queue, events, leases."""

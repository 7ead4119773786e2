"""Scheduler, workload controllers, EndpointSlices, garbage collection, namespaces, node life cycle."""

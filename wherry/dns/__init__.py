"""Cluster DNS: Corefile, plugins, and zones from Services and EndpointSlices."""

"""Rows of networking.k8s.io."""

"""Packaged components: their manifests, written to the server's manifests folder at start and applied from there."""

"""Rows of storage: claims, volumes, classes."""

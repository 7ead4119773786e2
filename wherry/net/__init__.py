"""Addresses, prefixes and allocators: pure data structures."""

"""Endpoint slices: which pods answer for each service that selects pods."""

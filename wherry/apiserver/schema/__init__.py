"""Schemas of the kinds the API serves: what fields there are, how Go's types read and write them, how lists merge."""

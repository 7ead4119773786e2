"""Rows of the batch group."""

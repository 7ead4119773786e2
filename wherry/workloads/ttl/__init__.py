"""Finished jobs are deleted once their time to live is over (KEP-592)."""

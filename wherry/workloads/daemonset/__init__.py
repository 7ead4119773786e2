"""Daemon sets: one pod on every node that qualifies."""

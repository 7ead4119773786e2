"""Showing what becomes of a name: the names that a pod's resolver tries, and which plugin and object answers each."""

"""Stateful sets: pods with stable names and claims, made, updated and removed in order."""

"""Rows of the workloads that keep pods running: deployments, replica sets, daemon sets, stateful sets and their kin."""

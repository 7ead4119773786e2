"""Rows that bound and rank pods: disruption budgets, priority classes, runtime classes."""

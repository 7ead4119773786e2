"""Rows of horizontal pod autoscalers in both served versions."""

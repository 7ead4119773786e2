"""Assembly of a node: pods, overlay and services in that node's network namespace."""

"""A whole cluster on one machine: namespaces, supervised processes, start and clean end."""

"""Stand-ins: sockets in a pod's network namespace that answer in place of a program nobody has here."""

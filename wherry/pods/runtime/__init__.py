"""The node's runtime process: holds stand-in sockets and is the parent of program containers."""

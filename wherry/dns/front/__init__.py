"""The receive loops of cluster DNS: processes that answer from memory and hand the rest to the one that thinks."""

"""Replica sets and replication controllers: as many pods of one template as asked for."""

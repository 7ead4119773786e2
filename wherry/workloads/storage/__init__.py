"""Volumes and claims: binding, the local provisioner, protection of what is in use."""

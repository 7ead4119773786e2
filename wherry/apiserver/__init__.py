"""The embedded Kubernetes API: storage, table of kinds, patching, watch, authentication and authorization."""

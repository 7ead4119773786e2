"""The embedded cloud controller: what K3s' stub does for nodes that registered with an external cloud provider."""

"""Pod ranges of nodes from the cluster CIDRs."""

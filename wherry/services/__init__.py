"""ClusterIP services compiled to nftables."""

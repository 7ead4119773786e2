"""Pod network between nodes: vxlan, host-gw, none."""

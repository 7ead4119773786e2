"""Pod sandboxes, containers, probes, volumes and the kubelet API."""

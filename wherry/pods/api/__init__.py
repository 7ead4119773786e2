"""The kubelet's HTTPS API: logs, exec, health and the pods of this node, for the API server to call."""

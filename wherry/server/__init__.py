"""Assembly of the control plane: API server and controllers, as processes or on this host."""

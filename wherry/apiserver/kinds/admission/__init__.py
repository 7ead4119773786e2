"""What Kubernetes' built-in admission plugins do, as functions of the object and of what the context can look up."""

"""Pod specs, as pods and the templates of workloads hold them: defaults, checks, and what updates may change."""

"""The job controller: pods until enough of them have succeeded, each counted exactly once."""

"""The settings of wherry: K3s' flags, environment variables and configuration files as typed values."""

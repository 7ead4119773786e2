"""What is wrong with a setting, for the person who wrote it."""


class ConfigError(ValueError):
    """A flag, environment variable or configuration file cannot be used; the message says which, why and what to do."""

"""The Corefile: tokens, grammar, the order of plugins, and what a plugin's set-up is given."""

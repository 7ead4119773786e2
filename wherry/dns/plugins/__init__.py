"""One module for each plugin of the Corefile."""

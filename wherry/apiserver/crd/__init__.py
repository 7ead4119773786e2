"""Custom resource definitions: rows of the table of kinds that come and go while the server runs."""

"""The row of custom resource definitions, and what makes a schema structural."""

"""The verbs of the API, generic over the rows of the table of kinds."""

"""The OpenAPI documents: what clients read to explain kinds, to validate objects and to make patches."""

"""Tests of schemas, decoding, patches and OpenAPI."""

"""Image references: what can be one, and the parser's words for what cannot."""

import pytest

from wherry.pods.imagename import reference_error


@pytest.mark.parametrize(
    "image",
    [
        "nginx",
        "nginx:1.27",
        "library/nginx",
        "docker.io/library/nginx:latest",
        "localhost:5000/team/app_x:v1.2-rc.3",
        "registry.k8s.io/pause@sha256:" + "a" * 64,
        "[::1]:5000/a/b",
        "Registry.Example/app",
        "a__b/c--d.e",
    ],
)
def test_references(image: str) -> None:
    assert reference_error(image) == ""


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("UPPER", "invalid reference format: repository name (library/UPPER) must be lowercase"),
        ("shop/Web:1", "invalid reference format: repository name (shop/Web) must be lowercase"),
        ("docker.io/shop/Web", "invalid reference format: repository name (shop/Web) must be lowercase"),
        ("nginx:", "invalid reference format"),
        ("nginx:tag with space", "invalid reference format"),
        ("-nginx", "invalid reference format"),
        ("a..b", "invalid reference format"),
        ("nginx@sha256:abc", "invalid reference format"),
        ("a" * 64, "invalid repository name (" + "a" * 64 + "), cannot specify 64-byte hexadecimal strings"),
        ("a/" * 128 + "b", "repository name must not be more than 255 characters"),
    ],
)
def test_what_is_none(image: str, why: str) -> None:
    assert reference_error(image) == why

"""Names of images: what they leave out, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.errors import InvalidObject
from netloom.local.images.references import image_id, parse

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.25", "docker.io/library/nginx:1.25"),
        ("team/app", "docker.io/team/app:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("localhost/app:dev", "localhost/app:dev"),
        ("registry.example.org:5000/a/b/c:v1", "registry.example.org:5000/a/b/c:v1"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1@{DIGEST}", f"docker.io/library/nginx:1@{DIGEST}"),
        ("a__b/c-d.e", "docker.io/a__b/c-d.e:latest"),
    ],
)
def test_a_name_says_little_and_means_all(text: str, whole: str):
    assert str(parse(text)) == whole
    assert str(parse(whole)) == whole


@pytest.mark.parametrize(
    "text",
    ["", "Nginx", "a//b", "a/", "/a", "a:", "a:b:c", "a@sha256:12", "a b", "a:" + "t" * 129, "a" * 300, "ä"],
)
def test_what_is_no_name_is_refused(text: str):
    with pytest.raises(InvalidObject):
        parse(text)


@given(st.text(max_size=60))
def test_any_text_is_a_name_or_refused(text: str):
    try:
        found = parse(text)
    except InvalidObject:
        return
    assert parse(str(found)) == found


def test_ids_are_told_from_names():
    assert image_id("sha256:" + "0" * 64) == "0" * 64
    assert image_id("0123456789ab") == "0123456789ab"
    assert image_id("nginx") == image_id("sha256:xyz") == image_id("0123") == ""

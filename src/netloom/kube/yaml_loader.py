"""YAML as the Kubernetes API reads it. In: text; out, through ``yaml.load``: plain values. Not here: what a document may hold."""

from __future__ import annotations

from typing import Any

import yaml

_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, in C, where libyaml is there


class Loader(_Safe):  # type: ignore[misc] # chosen at import
    """Safe, and a timestamp is text (RFC 3339), not a date of the language."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

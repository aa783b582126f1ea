"""Conditions of a selector that labels do not meet, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netloom.api.selectors import Selector


def unmet_labels(selector: Selector, labels: Mapping[str, str], who: str) -> Iterator[str]:
    """One for each condition: ``role=api and pod shop/web has role=web``."""
    for requirement in selector.requirements:
        if requirement.matches(labels):
            continue
        value = labels.get(requirement.key)
        has = f"has no label {requirement.key}" if value is None else f"has {requirement.key}={value}"
        yield f"{requirement} and {who} {has}"

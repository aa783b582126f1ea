"""Fields that a JSON body names twice, of which every reader takes the last. Pure.

Comes in: a body. Goes out: paths such as ``spec.replicas``, in the order in which they are met. Asked only where the client asks for
``fieldValidation``: a body is read a second time for it. Source: RFC 8259, section 4; API concepts, "Field validation".
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.status import bad_request

ASKED = frozenset({"Strict", "Warn"})
"""Values of ``fieldValidation`` that want to know."""
_MOST = 20
"""Paths that are told; a body that is worse than that is no better understood by more."""


class _Object(dict[str, Json]):
    """An object, and which of its names came more than once."""

    twice: tuple[str, ...] = ()


def told(kind: Kind, asked: str, data: bytes) -> tuple[str, ...]:
    """What to warn of, in a body for a kind; ``asked`` is the request's ``fieldValidation``.

    Raises:
        ApiError: 400, there is something and the client is strict.
    """
    found = tuple(f'duplicate field "{path}"' for path in doubled_fields(data)) if data else ()
    if found and asked == "Strict":
        raise bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
            f"strict decoding error: {', '.join(found)}"
        )
    return found


def doubled_fields(data: bytes) -> list[str]:
    """Paths of fields that are there more than once; none where the body is no JSON."""
    try:
        value = json.loads(data, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return []
    found = _paths(value, "")
    return [path for _, path in zip(range(_MOST), found, strict=False)]


def _object(pairs: list[tuple[str, Json]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        made.twice = tuple(name for name in made if names.count(name) > 1)
    return made


def _paths(value: Json, path: str) -> Iterator[str]:
    if isinstance(value, _Object):
        for name in value.twice:
            yield f"{path}.{name}" if path else name
        for name, member in value.items():
            yield from _paths(member, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from _paths(member, f"{path}[{number}]")

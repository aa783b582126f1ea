"""The API server's errors (meta/v1 Status) as ours. In: HTTP code and body; out: one exception. Translated here only."""

from __future__ import annotations

import msgspec

from netloom.errors import AlreadyExists, InvalidObject, NetloomError, NotFound, Unavailable, Unsupported


class Conflict(NetloomError):
    """The object changed since it was read (409 Conflict): read it again, decide again, write again."""


class Expired(NetloomError):
    """The resourceVersion or continue token is too old (410 Gone): list again."""


class Denied(NetloomError):
    """The server does not let us do it (401 or 403), for instance because the namespace is terminating."""


class Cause(msgspec.Struct, frozen=True):
    """meta/v1 StatusCause."""

    reason: str = ""
    message: str = ""
    field: str = ""


class Details(msgspec.Struct, frozen=True, rename="camel"):
    """meta/v1 StatusDetails."""

    name: str = ""
    kind: str = ""
    causes: tuple[Cause, ...] | None = None
    retry_after_seconds: int = 0


class Status(msgspec.Struct, frozen=True):
    """meta/v1 Status."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: Details | None = None


_KINDS: dict[int, tuple[type[NetloomError], str]] = {
    401: (Denied, "look at the credentials"),
    403: (Denied, "look at the credentials, and whether the namespace is being deleted"),
    404: (NotFound, "look whether the name and namespace are right"),
    405: (Unsupported, "the server does not offer this operation on this kind"),
    406: (Unsupported, "the server does not write this format"),
    409: (Conflict, "read the object again and repeat the change"),
    410: (Expired, "list again"),
    415: (Unsupported, "the server does not read this format"),
}


def to_error(code: int, body: bytes, subject: str) -> NetloomError:
    """The exception for an answer that is not 2xx.

    Args:
        code: HTTP status code.
        body: a Status as JSON; anything else is quoted in short.
        subject: what was asked for, such as ``update Pod shop/cart-1``.
    """
    try:
        status = msgspec.json.decode(body, type=Status)
    except msgspec.DecodeError:
        status = Status(message=body[:200].decode("utf-8", "replace").strip())
    return from_status(code, status, subject)


def from_status(code: int, status: Status, subject: str) -> NetloomError:
    """The exception for a Status; ``code`` is used where the Status has none."""
    code = status.code or code
    text = f"{subject}: {status.message or 'no reason given'} (HTTP {code})"
    if code in {400, 413, 422}:
        return _invalid(status, subject)
    kind, hint = _KINDS.get(code, (Unavailable, "try again; look whether the API server runs"))
    if code == 409 and status.reason == "AlreadyExists":
        kind, hint = AlreadyExists, "choose another name, or update the object that is there"
    return kind(text, hint)


def _invalid(status: Status, subject: str) -> InvalidObject:
    causes = (status.details.causes or ()) if status.details else ()
    named = [c for c in causes if c.field]
    if not named:
        return InvalidObject(subject, "", status.message or "refused by the API server", "mend the object")
    more = "; ".join(f"{c.field}: {c.message}" for c in named[1:])
    return InvalidObject(
        subject, named[0].field, named[0].message, f"also {more}" if more else "mend the field"
    )

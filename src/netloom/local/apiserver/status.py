"""What the API says when it says no: ``Status`` objects with code, reason and causes (meta/v1 Status).

Comes in: kind, name, what went wrong. Goes out: one ApiError, which renders itself as bytes. Not here: which
request deserves which error. Wording follows what clients and people know from kube-apiserver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from netloom.errors import NetloomError
from netloom.local.apiserver.kind import Kind


class Cause(msgspec.Struct, frozen=True):
    """One reason of a refusal (meta/v1 StatusCause); ``field`` is a path such as ``spec.ports[0].port``."""

    reason: str
    message: str
    field: str = ""

    def text(self) -> str:
        """One line: field, then message."""
        return f"{self.field}: {self.message}" if self.field else self.message


class ApiError(NetloomError):
    """A refusal with an HTTP status code and a reason that clients switch on (meta/v1 StatusReason).

    Args:
        code: HTTP status code.
        reason: a word of meta/v1 StatusReason, such as ``NotFound``.
        message: one line for people.
        details: meta/v1 StatusDetails; may be empty.
        continue_: with which token a list can go on all the same.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        *,
        continue_: str = "",
    ) -> None:
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.continue_ = continue_
        super().__init__(message)

    def document(self) -> dict[str, Any]:
        """The meta/v1 Status object."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": self.continue_} if self.continue_ else {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        # kubectl debug reads the details of every 404, there or not
        if self.details or self.code == 404:
            status["details"] = self.details
        status["code"] = self.code
        return status

    def render(self) -> bytes:
        """The meta/v1 Status object as JSON."""
        return msgspec.json.encode(self.document())


def success(kind: Kind, name: str, uid: str) -> bytes:
    """The Status that answers a deletion which is complete."""
    details = {"name": name, "kind": kind.plural, "uid": uid}
    if kind.group:
        details["group"] = kind.group
    return msgspec.json.encode(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    )


def _about(kind: Kind, name: str) -> dict[str, Any]:
    details: dict[str, Any] = {"name": name} if name else {}
    if kind.group:
        details["group"] = kind.group
    details["kind"] = kind.plural
    return details


def _with_causes(details: dict[str, Any], causes: Sequence[Cause]) -> dict[str, Any]:
    if causes:
        details["causes"] = [
            {k: v for k, v in (("reason", c.reason), ("message", c.message), ("field", c.field)) if v}
            for c in causes
        ]
    return details


def not_found(kind: Kind, name: str) -> ApiError:
    """404: no object of this kind and name."""
    return ApiError(404, "NotFound", f'{kind.qualified} "{name}" not found', _about(kind, name))


def unknown_path() -> ApiError:
    """404: no such group, version, resource or subresource."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(kind: Kind, name: str) -> ApiError:
    """409: the name is taken."""
    return ApiError(409, "AlreadyExists", f'{kind.qualified} "{name}" already exists', _about(kind, name))


def conflict(kind: Kind, name: str, why: str, causes: Sequence[Cause] = ()) -> ApiError:
    """409: the object is not what the client thinks it is."""
    message = f'Operation cannot be fulfilled on {kind.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, _with_causes(_about(kind, name), causes))


def modified(kind: Kind, name: str) -> ApiError:
    """409: optimistic concurrency, ``metadata.resourceVersion`` is not the current one."""
    return conflict(
        kind,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


def apply_conflict(message: str, causes: Sequence[Cause]) -> ApiError:
    """409: server-side apply met fields that other managers own."""
    return ApiError(409, "Conflict", message, _with_causes({}, causes))


def invalid(kind_name: str, group: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422: the object was understood and is wrong; one cause a field."""
    subject = f"{kind_name}.{group}" if group else kind_name
    told = causes[0].text() if len(causes) == 1 else f"[{', '.join(c.text() for c in causes)}]"
    details: dict[str, Any] = {"name": name} if name else {}
    if group:
        details["group"] = group
    details["kind"] = kind_name
    message = f'{subject} "{name}" is invalid: {told}'
    return ApiError(422, "Invalid", message, _with_causes(details, causes))


def invalid_object(kind: Kind, name: str, causes: Sequence[Cause]) -> ApiError:
    """422 about an object of a kind that is served."""
    return invalid(kind.kind, kind.group, name, causes)


def bad_request(message: str) -> ApiError:
    """400: the request cannot be understood."""
    return ApiError(400, "BadRequest", message)


def forbidden(kind: Kind, name: str, why: str, causes: Sequence[Cause] = ()) -> ApiError:
    """403: understood, and not done."""
    subject = f'{kind.qualified} "{name}"' if name else kind.qualified
    return ApiError(
        403, "Forbidden", f"{subject} is forbidden: {why}", _with_causes(_about(kind, name), causes)
    )


def expired(message: str) -> ApiError:
    """410: the history that the client asks for is gone; it lists anew."""
    return ApiError(410, "Expired", message)


def page_expired(token: str) -> ApiError:
    """410 for the next page of a list whose revision is gone; the token leads to the rest as it is now."""
    return ApiError(
        410,
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. Start a new list without the "
        "continue parameter, or use the continue token in this response for the remainder: that list is inconsistent, "
        "for objects may have come, changed or gone between its pages.",
        continue_=token,
    )


def too_old(asked: int, oldest: int) -> ApiError:
    """410 for a resourceVersion that is no longer in the watch window."""
    return expired(f"too old resource version: {asked} ({oldest})")


def too_large(asked: int, current: int) -> ApiError:
    """504: a resourceVersion that does not exist yet."""
    return ApiError(
        504,
        "Timeout",
        f"Too large resource version: {asked}, current: {current}",
        {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
    )


def method_not_allowed(
    message: str = "the server does not allow this method on the requested resource",
) -> ApiError:
    """405: the resource has no such verb."""
    return ApiError(405, "MethodNotAllowed", message)


def not_acceptable() -> ApiError:
    """406: we speak JSON only."""
    return ApiError(
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json",
    )


def unsupported_media(accepted: Sequence[str]) -> ApiError:
    """415: the body is in a format that we do not read."""
    return ApiError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted),
    )


def too_big(limit: int) -> ApiError:
    """413: the body is larger than the limit, in bytes."""
    return ApiError(
        413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}, send a smaller object"
    )


def unauthorized() -> ApiError:
    """401: no client certificate."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def unavailable(message: str) -> ApiError:
    """503: a part behind this server does not answer."""
    return ApiError(503, "ServiceUnavailable", message)


def no_storage(message: str) -> ApiError:
    """507: the store cannot be written; nothing of the request took effect."""
    return ApiError(507, "InsufficientStorage", message)


def internal(message: str) -> ApiError:
    """500: our own fault."""
    return ApiError(500, "InternalError", f"Internal error occurred: {message}")

"""Query parameters of requests, read once into values.

Comes in: the query of a URL (and the DeleteOptions body). Goes out: options, or a 400 that names the parameter.
Source: meta/v1 ListOptions, CreateOptions, PatchOptions, DeleteOptions.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from netloom.api import selectors
from netloom.errors import UsageError
from netloom.local.apiserver import fields
from netloom.local.apiserver.access.identity import Identity
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.status import ApiError, Cause, bad_request, invalid
from netloom.local.apiserver.watches import Interest

Validation = Literal["Strict", "Warn", "Ignore"]
Propagation = Literal["Background", "Foreground", "Orphan"]

_META = "meta.k8s.io"


class ListOptions(msgspec.Struct, frozen=True):
    """What a list or a watch asks for. ``version`` is None where no resourceVersion was given."""

    interest: Interest
    limit: int = 0
    after: tuple[str, str] = ("", "")
    """Only what follows this key: the list goes on."""
    version: int | None = None
    exact: bool = False
    watch: bool = False
    bookmarks: bool = False
    initial_events: bool | None = None
    timeout_s: float = 0


class WriteOptions(msgspec.Struct, frozen=True):
    """How a write is to be done, and in whose name (managedFields)."""

    manager: str
    dry_run: bool = False
    force: bool = False
    validation: Validation = "Warn"
    user: Identity | None = None
    """Who writes; None: the server itself."""


class DeleteOptions(msgspec.Struct, frozen=True):
    """How a deletion is to be done. ``grace_s`` None means the object's own."""

    dry_run: bool = False
    grace_s: int | None = None
    propagation: Propagation = "Background"
    uid: str = ""
    version: str = ""


def list_options(kind: Kind, namespace: str, query: Mapping[str, str]) -> ListOptions:
    """Options of a list, watch or deletecollection.

    Raises:
        ApiError: 400, 410 or 422, a parameter is wrong.
    """
    try:
        labels = selectors.parse(query.get("labelSelector", ""))
    except UsageError as error:
        raise bad_request(f"unable to parse requirement: {error}") from error
    interest = Interest(kind, namespace, labels, fields.parse(kind, query.get("fieldSelector", "")))
    version = _version(query.get("resourceVersion", ""))
    watch = flag(query, "watch")
    match = query.get("resourceVersionMatch", "")
    initial = flag(query, "sendInitialEvents") if "sendInitialEvents" in query else None
    causes = _watch_causes(query, match) if watch else _list_causes(query, match)
    if causes:
        raise invalid("ListOptions", _META, "", causes)
    limit = int(_number(query, "limit"))
    token = query.get("continue", "")
    if token and not watch:
        if version:
            raise bad_request("specifying resource version is not allowed when using continue")
        at, after = read_token(token)
        return ListOptions(interest, limit, after, at or None, exact=bool(at))
    return ListOptions(
        interest,
        limit=limit,
        version=version,
        # a page of a list at a revision is of that revision, also where nobody says so
        exact=match == "Exact" or bool(not match and version and limit and not watch),
        watch=watch,
        bookmarks=flag(query, "allowWatchBookmarks"),
        initial_events=initial,
        timeout_s=_number(query, "timeoutSeconds"),
    )


def _forbidden(field: str, why: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)


def _list_causes(query: Mapping[str, str], match: str) -> list[Cause]:
    """What is wrong with the options of a list."""
    field, causes = "resourceVersionMatch", []
    if match:
        if not query.get("resourceVersion"):
            causes.append(_forbidden(field, f"{field} is forbidden unless resourceVersion is provided"))
        if query.get("continue"):
            causes.append(_forbidden(field, f"{field} is forbidden when continue is provided"))
        if match not in {"Exact", "NotOlderThan"}:
            causes.append(_unsupported(field, match, "Exact", "NotOlderThan"))
        if match == "Exact" and query.get("resourceVersion") == "0":
            causes.append(_forbidden(field, f'{field} "exact" is forbidden for resourceVersion "0"'))
    if "sendInitialEvents" in query:
        causes.append(_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return causes


def _watch_causes(query: Mapping[str, str], match: str) -> list[Cause]:
    """What is wrong with the options of a watch."""
    field, causes = "resourceVersionMatch", []
    initial = "sendInitialEvents" in query
    if initial and match != "NotOlderThan":
        causes.append(
            _forbidden(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        )
    if match:
        if not initial:
            causes.append(
                _forbidden(field, f"{field} is forbidden for watch unless sendInitialEvents is provided")
            )
        if match != "NotOlderThan":
            causes.append(_unsupported(field, match, "NotOlderThan"))
        if query.get("continue"):
            causes.append(_forbidden(field, f"{field} is forbidden when continue is provided"))
    return causes


def _unsupported(field: str, value: str, *supported: str) -> Cause:
    words = ", ".join(f'"{word}"' for word in supported)
    return Cause("FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {words}', field)


def write_options(query: Mapping[str, str], user_agent: str, user: Identity | None = None) -> WriteOptions:
    """Options of create, update and patch. Without ``fieldManager`` the first word of the user agent is the manager.

    Raises:
        ApiError: 422, a parameter is wrong.
    """
    manager = query.get("fieldManager") or user_agent.partition("/")[0] or "unknown"
    if len(manager) > 128 or not manager.isprintable():
        why = "Invalid value: may not be longer than 128 printable characters"
        raise invalid("PatchOptions", _META, "", [Cause("FieldValueInvalid", why, "fieldManager")])
    validation = query.get("fieldValidation") or "Warn"
    if validation not in {"Strict", "Warn", "Ignore"}:
        why = f'Unsupported value: "{validation}": supported values: "", "Ignore", "Strict", "Warn"'
        raise invalid("CreateOptions", _META, "", [Cause("FieldValueNotSupported", why, "fieldValidation")])
    return WriteOptions(
        manager=manager,
        dry_run=_dry_run(query.get("dryRun")),
        force=flag(query, "force"),
        validation=validation,  # type: ignore[arg-type] # narrowed by the set above
        user=user,
    )


class _Preconditions(msgspec.Struct, rename={"version": "resourceVersion"}):
    uid: str | None = None
    version: str | None = None


class _DeleteBody(msgspec.Struct, rename="camel"):
    dry_run: list[str] | None = None
    grace_period_seconds: int | None = None
    propagation_policy: str | None = None
    orphan_dependents: bool | None = None
    preconditions: _Preconditions | None = None


def delete_options(query: Mapping[str, str], body: dict[str, Any]) -> DeleteOptions:
    """Options of a deletion: the DeleteOptions body, or the query where there is no body.

    Raises:
        ApiError: 400 or 422, an option is wrong.
    """
    try:
        asked = msgspec.convert(body, _DeleteBody)
    except msgspec.ValidationError as error:
        raise bad_request(f"DeleteOptions cannot be read: {error}") from error
    grace = asked.grace_period_seconds
    if grace is None and "gracePeriodSeconds" in query:
        grace = int(_number(query, "gracePeriodSeconds", signed=True))
    policy = asked.propagation_policy or query.get("propagationPolicy") or "Background"
    if asked.orphan_dependents or flag(query, "orphanDependents"):
        policy = "Orphan"
    if policy not in {"Background", "Foreground", "Orphan"}:
        why = f'Unsupported value: "{policy}": supported values: "Background", "Foreground", "Orphan"'
        raise invalid("DeleteOptions", _META, "", [Cause("FieldValueNotSupported", why, "propagationPolicy")])
    demanded = asked.preconditions or _Preconditions()
    return DeleteOptions(
        dry_run=_dry_run(asked.dry_run[0] if asked.dry_run else query.get("dryRun")),
        grace_s=None if grace is None else max(grace, 1 if grace < 0 else 0),
        propagation=policy,  # type: ignore[arg-type] # narrowed by the set above
        uid=demanded.uid or "",
        version=demanded.version or "",
    )


def flag(query: Mapping[str, str], name: str) -> bool:
    """A boolean parameter: absent and ``false`` and ``0`` are no, the rest is yes."""
    return query.get(name, "false").lower() not in {"false", "0", "f"}


def token(at: int, after: tuple[str, str]) -> str:
    """The ``continue`` token of a page that ended at this key, of a list at this revision."""
    return base64.urlsafe_b64encode(msgspec.json.encode((at, *after))).decode().rstrip("=")


def read_token(text: str) -> tuple[int, tuple[str, str]]:
    """Revision and key of a ``continue`` token; revision 0: as things are now.

    Raises:
        ApiError: 400, we did not make this token.
    """
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        at, namespace, name = msgspec.json.decode(data, type=tuple[int, str, str])
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise bad_request("invalid continue token: start the list again without it") from error
    if not 0 <= at < 1 << 63:
        raise bad_request("invalid continue token: incorrect encoded start resourceVersion")
    return at, (namespace, name)


def _version(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        why = f'Invalid value: "{text}": must be a number'
        raise ApiError(400, "BadRequest", f"resourceVersion: {why}")
    return int(text)


def _number(query: Mapping[str, str], name: str, *, signed: bool = False) -> int:
    text = query.get(name, "") or "0"
    digits = text.removeprefix("-") if signed else text
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise bad_request(f"{name}: {text!r} is not a number")
    return int(text)


def _dry_run(value: str | None) -> bool:
    if value not in {None, "", "All"}:
        why = f'Unsupported value: "{value}": supported values: "All"'
        raise invalid("CreateOptions", _META, "", [Cause("FieldValueNotSupported", why, "dryRun")])
    return value == "All"

"""Rules for names, labels and annotations, shared by all kinds. Pure.

Comes in: texts and objects of a document. Goes out: problems as text, or FieldErrors. Not here: which field follows which
rule. Source: apimachinery validation; RFC 1123 and RFC 1035 for labels, RFC 6335 for port names.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from netloom.local.apiserver.fielderrors import (
    FieldError,
    forbidden,
    invalid,
    items,
    mapping,
    not_supported,
    required,
    too_long,
)
from netloom.local.apiserver.jsonvalue import Json

Errors = Iterator[FieldError]
Rule = Callable[[str], str]
"""What is wrong with a text; empty where nothing is."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?\Z")
_KEY = re.compile(r"[-._a-zA-Z0-9]+\Z")
_LABEL_LENGTH = 63
_SUBDOMAIN_LENGTH = 253
_PORT_NAME_LENGTH = 15
ANNOTATIONS_LIMIT = 256 * 1024
"""Bytes of all annotations of an object."""

MAX_PORT = 65535


def _longer(text: str, limit: int) -> str:
    return f"must be no more than {limit} bytes" if len(text.encode()) > limit else ""


@functools.lru_cache(maxsize=1 << 14)
def label_problem(text: str) -> str:
    """What keeps a text from being a DNS label (RFC 1123); empty where nothing does."""
    if longer := _longer(text, _LABEL_LENGTH):
        return longer
    if _LABEL.match(text):
        return ""
    return ("must be a DNS label (RFC 1123): lower case letters, digits and '-', with a letter or digit at both ends, "
            "such as 'my-name' or '123-abc'")  # fmt: skip


def label_1035_problem(text: str) -> str:
    """What keeps a text from being a DNS label of RFC 1035."""
    if longer := _longer(text, _LABEL_LENGTH):
        return longer
    if _LABEL_1035.match(text):
        return ""
    return ("must be a DNS label (RFC 1035): lower case letters, digits and '-', a letter first, a letter or digit last, "
            "such as 'my-name' or 'abc-123'")  # fmt: skip


@functools.lru_cache(maxsize=1 << 14)
def subdomain_problem(text: str) -> str:
    """What keeps a text from being a DNS subdomain (RFC 1123)."""
    if longer := _longer(text, _SUBDOMAIN_LENGTH):
        return longer
    if _SUBDOMAIN.match(text):
        return ""
    return ("must be a DNS subdomain (RFC 1123): lower case letters, digits, '-' and '.', with a letter or digit at both "
            "ends of each part, such as 'example.com'")  # fmt: skip


@functools.lru_cache(maxsize=1 << 14)
def qualified_name_problem(text: str) -> str:
    """What keeps a text from being a qualified name: a name, or prefix/name."""
    prefix, slash, name = text.rpartition("/")
    if slash and (not prefix or (why := subdomain_problem(prefix))):
        return f"prefix part {why if prefix else 'must be non-empty'}"
    if not name:
        return "name part must be non-empty"
    if longer := _longer(name, _LABEL_LENGTH):
        return f"name part {longer}"
    if _QUALIFIED.match(name):
        return ""
    return ("name part must consist of letters, digits, '-', '_' and '.', with a letter or digit at both ends, "
            "such as 'MyName' or 'example.com/my.name'")  # fmt: skip


@functools.lru_cache(maxsize=1 << 14)
def label_value_problem(text: str) -> str:
    """What keeps a text from being the value of a label."""
    if longer := _longer(text, _LABEL_LENGTH):
        return longer
    if not text or _QUALIFIED.match(text):
        return ""
    return (
        "a label's value is empty, or letters, digits, '-', '_' and '.' with a letter or digit at both ends"
    )


def key_problem(text: str) -> str:
    """What keeps a text from being a key of a ConfigMap or Secret."""
    if longer := _longer(text, _SUBDOMAIN_LENGTH):
        return longer
    if text in (".", "..") or text.startswith("../"):
        return f"must not be {text!r}"
    return (
        ""
        if _KEY.match(text)
        else "a key is letters, digits, '-', '_' and '.', such as 'key.name' or 'KEY_NAME'"
    )


def port_name_problem(text: str) -> str:
    """What keeps a text from being the name of a port (RFC 6335)."""
    if len(text) > _PORT_NAME_LENGTH:
        return f"must be no more than {_PORT_NAME_LENGTH} characters"
    if not re.match(r"[-a-z0-9]+\Z", text):
        return "must contain only lower case letters, digits and '-'"
    if not re.search(r"[a-z]", text):
        return "must contain at least one letter"
    if "--" in text:
        return "must not contain consecutive hyphens"
    return "must not begin or end with a hyphen" if text.startswith("-") or text.endswith("-") else ""


def named(path: str, value: Json, problem_of: Rule) -> Errors:
    """A text that must be there and follow a rule."""
    if not isinstance(value, str) or not value:
        yield required(path)
    elif problem := problem_of(value):
        yield invalid(path, value, problem)


def optional(path: str, value: Json, problem_of: Rule) -> Errors:
    """A text that follows a rule where it is there."""
    if isinstance(value, str) and value and (problem := problem_of(value)):
        yield invalid(path, value, problem)


def port(path: str, value: Json) -> Errors:
    """A port number that must be there."""
    if value is None:
        yield required(path)
    elif not (isinstance(value, int) and 1 <= value <= MAX_PORT):
        yield invalid(path, value, f"must be between 1 and {MAX_PORT}, inclusive")


def port_or_name(path: str, value: Json) -> Errors:
    """A port by number or by the name of a container's port."""
    if isinstance(value, str):
        if problem := port_name_problem(value):
            yield invalid(path, value, problem)
    else:
        yield from port(path, value)


def one_of(path: str, value: Json, words: tuple[str, ...], *, needed: bool = False) -> Errors:
    """A word of a list of words."""
    if value in (None, ""):
        if needed:
            yield required(path)
    elif value not in words:
        yield not_supported(path, value, words)


def at_least(path: str, value: Json, least: int) -> Errors:
    """A number with a lower bound, where it is there."""
    if isinstance(value, int) and value < least:
        why = (
            "must be greater than or equal to 0"
            if least == 0
            else f"must be greater than or equal to {least}"
        )
        yield invalid(path, value, why)


def labels(path: str, value: Json) -> Errors:
    """Labels: qualified names and short values."""
    for key, text in mapping(value).items():
        if problem := qualified_name_problem(key):
            yield invalid(path, key, problem)
        if isinstance(text, str) and (problem := label_value_problem(text)):
            yield invalid(path, text, problem)


def label_selector(path: str, value: Json) -> Errors:
    """A meta/v1 LabelSelector."""
    selector = mapping(value)
    yield from labels(f"{path}.matchLabels", selector.get("matchLabels"))
    for number, item in enumerate(items(selector.get("matchExpressions"))):
        yield from _requirement(f"{path}.matchExpressions[{number}]", mapping(item))


def _requirement(path: str, requirement: Mapping[str, Any]) -> Errors:
    values = items(requirement.get("values"))
    match requirement.get("operator"):
        case "In" | "NotIn":
            if not values:
                yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        case "Exists" | "DoesNotExist":
            if values:
                yield forbidden(
                    f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                )
        case other:
            yield invalid(f"{path}.operator", other, "not a valid selector operator")
    yield from named(f"{path}.key", requirement.get("key"), qualified_name_problem)
    for number, text in enumerate(values):
        yield from optional(f"{path}.values[{number}]", text, label_value_problem)


def metadata(meta: Mapping[str, Any], *, namespaced: bool, name_problem: Rule) -> Errors:
    """The metadata of an object (meta/v1 ObjectMeta)."""
    name = meta.get("name")
    if prefix := meta.get("generateName"):
        # what the server adds makes the end of the name right
        yield from optional("metadata.generateName", f"{prefix}x", name_problem)
    if name or not prefix:
        if not isinstance(name, str) or not name:
            yield required("metadata.name", "name or generateName is required")
        elif problem := name_problem(name):
            yield invalid("metadata.name", name, problem)
    namespace = meta.get("namespace")
    if namespaced:
        yield from named("metadata.namespace", namespace, label_problem)
    elif namespace:
        yield forbidden("metadata.namespace", "not allowed on this type")
    yield from labels("metadata.labels", meta.get("labels"))
    yield from annotation_set("metadata.annotations", meta.get("annotations"))
    yield from _owners(items(meta.get("ownerReferences")))
    for number, finalizer in enumerate(items(meta.get("finalizers"))):
        yield from named(f"metadata.finalizers[{number}]", finalizer, qualified_name_problem)


def annotation_set(path: str, value: Json) -> Errors:
    """Annotations: qualified names, and not too much text in all."""
    size = 0
    for key, text in mapping(value).items():
        if problem := qualified_name_problem(key.lower()):
            yield invalid(path, key, problem)
        size += len(key.encode()) + len(str(text).encode())
    if size > ANNOTATIONS_LIMIT:
        yield too_long(path, ANNOTATIONS_LIMIT)


def _owners(owners: list[Any]) -> Errors:
    controller = ""
    for number, item in enumerate(owners):
        owner, path = mapping(item), f"metadata.ownerReferences[{number}]"
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield required(f"{path}.{field}", "must not be empty")
        if owner.get("controller") is True:
            if controller:
                why = f"only one reference can have controller set to true; {controller} has it already"
                yield invalid("metadata.ownerReferences", owner.get("name"), why)
            controller = f"{owner.get('kind')} {owner.get('name')}"

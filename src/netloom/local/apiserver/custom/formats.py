"""Formats of texts in schemas. Pure.

Comes in: the name of a format and a text. Goes out: whether it fits; formats that are not known fit always, as in kube-apiserver. Source: the formats
that kube-openapi knows, and apiextensions.k8s.io/v1 JSONSchemaProps.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import ipaddress
import re
import uuid
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from netloom.local.apiserver.validate_names import label_problem, subdomain_problem

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z")
_DURATION = re.compile(
    r"[+-]?(\d+(\.\d*)?|\.\d+)(ns|us|\u00b5s|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|\u00b5s|ms|s|m|h))*\Z|[+-]?0\Z"
)
_WORDED_DURATION = re.compile(
    r"\d+ *(ns|us|ms|s|m|h|d|w|(nano|micro|milli)?(sec|second)s?|mins?|minutes?|hrs?|hours?|days?|weeks?)\Z"
)
_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*\.?\Z"
)
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)*\Z")
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}\Z")
_COLOUR = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})\Z")
_RGB = re.compile(r"rgb\( *\d{1,3} *, *\d{1,3} *, *\d{1,3} *\)\Z", re.IGNORECASE)
_CARD = re.compile(r"\d{12,19}\Z")
_SSN = re.compile(r"\d{3}-?\d{2}-?\d{4}\Z")


def fits(name: str, text: str) -> bool:
    """Whether a text is of this format; a dash in the format's name does not count."""
    check = _FORMATS.get(name.replace("-", "").lower())
    return check is None or check(text)


def _is(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.match(text) is not None


def _uri(text: str) -> None:
    parts = urlsplit(text)
    if not (parts.scheme or text.startswith("/")):
        raise ValueError(text)


def _uuid(version: int | None) -> Callable[[str], bool]:
    def parse(text: str) -> None:
        found = uuid.UUID(text)
        if version is not None and found.version != version:
            raise ValueError(text)

    return _is(parse)


_FORMATS: Mapping[str, Callable[[str], bool]] = {
    "bsonobjectid": lambda text: re.fullmatch("[0-9a-fA-F]{24}", text) is not None,
    "byte": _is(lambda text: base64.b64decode(text, validate=True)),
    "cidr": lambda text: "/" in text and _is(ipaddress.ip_interface)(text),
    "creditcard": _matches(_CARD),
    "date": _is(dt.date.fromisoformat),
    "datetime": _matches(_DATE_TIME),
    "duration": lambda text: bool(_DURATION.match(text) or _WORDED_DURATION.match(text)),
    "email": _matches(_EMAIL),
    "hexcolor": _matches(_COLOUR),
    "hostname": _matches(_HOST),
    "ipv4": _is(ipaddress.IPv4Address),
    "ipv6": _is(ipaddress.IPv6Address),
    "k8slongname": lambda text: not subdomain_problem(text),
    "k8sshortname": lambda text: not label_problem(text),
    "mac": _matches(_MAC),
    "rgbcolor": _matches(_RGB),
    "ssn": _matches(_SSN),
    "uri": _is(_uri),
    "uuid": _uuid(None),
    "uuid3": _uuid(3),
    "uuid4": _uuid(4),
    "uuid5": _uuid(5),
}

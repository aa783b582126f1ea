"""Functions of texts, regular expressions, and Kubernetes' named formats. Pure. Source: cel-go's strings; Kubernetes' regex and format libraries."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from netloom.local.apiserver import bounds, validate_names
from netloom.local.apiserver.custom import formats, patterns
from netloom.local.apiserver.custom.cel.syntax import CelError
from netloom.local.apiserver.custom.cel.types import NONE, Optional, Value, is_number

_LONGEST = 1 << 20
_VERB = re.compile(r"%(?:\.(\d{1,2}))?([sdfeboxX%])")


def _text(value: Value) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def number(value: float) -> str:
    """A double as CEL writes it."""
    return str(int(value)) if value == value // 1 and abs(value) < 1e15 else repr(value)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return patterns.compiled(text)
    except patterns.BadPattern as bad:
        raise CelError(f"error parsing regexp: {bad}") from bad


def _looked_at(value: Value) -> str:
    if len(_text(value)) > bounds.LONGEST_TEXT:
        raise CelError(
            f"the text is longer than the {bounds.LONGEST_TEXT} characters that a pattern is tried on"
        )
    return _text(value)


def _find_all(value: Value, pattern: str, limit: int = -1) -> list[Value]:
    found = [match[0] for match in _pattern(pattern).finditer(_looked_at(value))]
    return list(found if limit < 0 else found[:limit])


def _find(value: Value, pattern: str) -> str:
    match = _pattern(pattern).search(_looked_at(value))
    return match[0] if match else ""


def _char_at(value: Value, index: int) -> str:
    if not 0 <= index <= len(_text(value)):
        raise CelError(f"index out of range: {index}")
    return value[index : index + 1]  # type: ignore[no-any-return] # a text


def _index_of(value: Value, part: str, start: int = 0) -> int:
    if not 0 <= start <= len(_text(value)):
        raise CelError(f"index out of range: {start}")
    return _text(value).find(part, start)


def _last_index_of(value: Value, part: str, start: int | None = None) -> int:
    return _text(value).rfind(part) if start is None else _text(value).rfind(part, 0, start + len(part))


def _replace(value: Value, old: str, new: str, count: int = -1) -> str:
    if len(_text(value)) * max(1, len(new)) > _LONGEST:
        raise CelError("the result is too large")
    return _text(value).replace(old, new, count)


def _split(value: Value, separator: str, limit: int = -1) -> list[Value]:
    if limit == 0:
        return []
    text = _text(value)
    if not separator:
        letters = list(text)
        return list(letters if limit < 0 else [*letters[: limit - 1], "".join(letters[limit - 1 :])])
    return list(text.split(separator, -1 if limit < 0 else limit - 1))


def _substring(value: Value, start: int, end: int | None = None) -> str:
    last = len(_text(value)) if end is None else end
    if not 0 <= start <= last <= len(_text(value)):
        raise CelError(f"index out of range: {start}")
    return _text(value)[start:last]


def _join(values: Value, separator: str = "") -> str:
    return separator.join(values)


def _lower(value: Value) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in _text(value))


def _upper(value: Value) -> str:
    return "".join(letter.upper() if letter.isascii() else letter for letter in _text(value))


def _quote(value: Value) -> str:
    return msgspec.json.encode(_text(value)).decode()


def _formatted(value: Value, arguments: list[Value]) -> str:
    """``'%s is %d'.format([...])``."""
    left = iter(arguments)

    def put(match: re.Match[str]) -> str:
        precision, verb = match.groups()
        if verb == "%":
            return "%"
        try:
            one = next(left)
        except StopIteration as error:
            raise CelError("index out of range: there are more verbs than arguments") from error
        match verb:
            case "s":
                return _shown(one)
            case "d":
                return str(int(one))
            case "f" | "e":
                return f"{float(one):.{int(precision or 6)}{verb}}"
            case _ if isinstance(one, str):
                return one.encode().hex() if verb == "x" else one.encode().hex().upper()
            case _:
                return format(int(one), verb)

    return _VERB.sub(put, _text(value))


def _shown(value: Value) -> str:  # noqa: PLR0911 - one for each type
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case list():
            return f"[{', '.join(map(_shown, value))}]"
        case Mapping():
            return f"{{{', '.join(f'{_shown(k)}: {_shown(v)}' for k, v in sorted(value.items()))}}}"
        case _ if is_number(value):
            return number(value) if isinstance(value, float) else str(int(value))
        case _:
            return str(value)


class Format(msgspec.Struct, frozen=True):
    """One of Kubernetes' named formats."""

    name: str

    def validate(self, text: str) -> Optional:
        """What is wrong with a text; none where nothing is."""
        problem = _FORMATS[self.name](text)
        return Optional(has=True, value=[problem]) if problem else NONE


def _format(name: str) -> Callable[[str], str]:
    return lambda text: "" if formats.fits(name, text) else f"must be of format {name}"


def _prefix(check: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: check(text.removesuffix("-"))


_FORMATS: Mapping[str, Callable[[str], str]] = {
    "dns1123Label": validate_names.label_problem,
    "dns1123LabelPrefix": _prefix(validate_names.label_problem),
    "dns1123Subdomain": validate_names.subdomain_problem,
    "dns1123SubdomainPrefix": _prefix(validate_names.subdomain_problem),
    "dns1035Label": validate_names.label_1035_problem,
    "dns1035LabelPrefix": _prefix(validate_names.label_1035_problem),
    "qualifiedName": validate_names.qualified_name_problem,
    "labelValue": validate_names.label_value_problem,
    "uri": _format("uri"),
    "uuid": _format("uuid"),
    "byte": _format("byte"),
    "date": _format("date"),
    "datetime": _format("date-time"),
}


def _named(name: str) -> Optional:
    return Optional(has=True, value=Format(name)) if name in _FORMATS else NONE


METHODS: Mapping[str, Callable[..., Value]] = {
    "charAt": _char_at,
    "contains": lambda value, part: part in _text(value),
    "endsWith": lambda value, part: _text(value).endswith(part),
    "find": _find,
    "findAll": _find_all,
    "format": _formatted,
    "indexOf": _index_of,
    "join": _join,
    "lastIndexOf": _last_index_of,
    "lowerAscii": _lower,
    "matches": lambda value, pattern: _pattern(pattern).search(_looked_at(value)) is not None,
    "replace": _replace,
    "reverse": lambda value: _text(value)[::-1],
    "split": _split,
    "startsWith": lambda value, part: _text(value).startswith(part),
    "substring": _substring,
    "trim": lambda value: _text(value).strip(),
    "upperAscii": _upper,
    "validate": lambda value, text: value.validate(text),
}


def _constant(name: str) -> Callable[[], Format]:
    return lambda: Format(name)


FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "matches": METHODS["matches"],
    "strings.quote": _quote,
    "format.named": _named,
    **{f"format.{name}": _constant(name) for name in _FORMATS},
}

"""Expectations as people write them beside their manifests. Pure.

Comes in: the text of a file. Goes out: expectations, each with its place in the file, or one UsageError that names it. The form
(``docs/check.md`` has it with examples)::

    namespace: shop                        # of names without one
    expectations:
      - web can reach cart:80
      - web, cart can reach orders:50051
      - everybody else cannot reach orders:50051
      - from: {namespaces: team=ops, pods: app=probe}
        to: db:5432
        expect: deny
        because: only backups may

An end is what ``netloom why`` takes; ``everybody``, ``everybody else``; or a selection of pods by labels. Not here: which pods that is
(``ends``).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence

import msgspec
import yaml

from netloom.api.selectors import Selector, parse
from netloom.errors import UsageError
from netloom.kube.yaml_loader import Loader

SUFFIX = ".expect"
"""How such files end in a directory: not in ``.yaml``, so that ``kubectl apply -f`` passes them by."""
MAX_BYTES = 1 << 20
MAX_EXPECTATIONS = 5000

_SENTENCE = re.compile(
    r"(?P<senders>.+?)\s+(?P<verb>can|cannot|can not)\s+reach\s+(?P<receivers>.+)", re.DOTALL
)
_EVERYBODY = re.compile(r"(everybody|everyone|anybody)(?P<other>\s+else)?")
_FORM = 'write "web can reach cart:80", or {from: web, to: cart:80, expect: allow}'


class Expected(enum.Enum):
    """What is expected of a connection."""

    ALLOW = "allow"
    DENY = "deny"


class Named(msgspec.Struct, frozen=True):
    """An end by name or address, as ``netloom why`` takes it."""

    text: str

    def __str__(self) -> str:
        return self.text


class Everybody(msgspec.Struct, frozen=True):
    """Every workload; ``other``: but for those that other expectations about the same receiver name."""

    other: bool = False

    def __str__(self) -> str:
        return "everybody else" if self.other else "everybody"


class Selected(msgspec.Struct, frozen=True):
    """Pods with these labels: of a namespace, or of all namespaces with labels."""

    namespace: str = ""
    namespaces: Selector | None = None
    pods: Selector = Selector()
    port: str = ""
    """Of a receiver: as ``netloom why`` takes it behind the colon."""

    def __str__(self) -> str:
        which = f"pods {self.pods}" if self.pods.requirements else "all pods"
        if self.namespace:
            where = f" of {self.namespace}"
        else:
            where = (
                f" of namespaces {self.namespaces}"
                if self.namespaces and self.namespaces.requirements
                else ""
            )
        return f"{which}{where}{f' port {self.port}' if self.port else ''}"


End = Named | Everybody | Selected


class Expectation(msgspec.Struct, frozen=True):
    """One entry of a file."""

    senders: tuple[End, ...]
    receivers: tuple[End, ...]
    expected: Expected
    file: str
    number: int
    """Which entry of the file, from 1."""
    namespace: str = "default"
    because: str = ""

    @property
    def text(self) -> str:
        """As a sentence."""
        verb = "can" if self.expected is Expected.ALLOW else "cannot"
        return f"{', '.join(map(str, self.senders))} {verb} reach {', '.join(map(str, self.receivers))}"

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.file}: expectation {self.number}"


def read_expectations(text: str, file: str) -> tuple[Expectation, ...]:
    """The expectations of one file: a list, or a mapping with ``namespace`` and ``expectations``.

    Raises:
        UsageError: the file is no YAML, or an entry cannot be read.
    """
    document = _document(text, file)
    namespace = "default"
    if isinstance(document, dict):
        _only(document, ("namespace", "expectations"), file)
        namespace = _text(document.get("namespace", "default"), f"{file}: namespace")
        document = document.get("expectations")
    if not isinstance(document, list) or not document:
        raise UsageError(f"{file}: has no list of expectations", _FORM)
    if len(document) > MAX_EXPECTATIONS:
        raise UsageError(
            f"{file}: {len(document)} expectations are more than {MAX_EXPECTATIONS}", "split the file"
        )
    return tuple(_entry(one, file, number, namespace) for number, one in enumerate(document, 1))


def _document(text: str, file: str) -> object:
    if len(text) > MAX_BYTES:
        raise UsageError(f"{file}: larger than {MAX_BYTES >> 20} MiB", "split the file")
    try:
        document: object = yaml.load(text, Loader=Loader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise UsageError(f"{file}:{where} {error.problem or 'is no YAML'}", "mend the YAML there") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{file}: is no YAML: {error}", "mend the file") from error
    return document


def _entry(one: object, file: str, number: int, namespace: str) -> Expectation:
    place = f"{file}: expectation {number}"
    if isinstance(one, str):
        return _sentence(one, file, number, namespace)
    if not isinstance(one, dict):
        raise UsageError(f"{place}: is neither a sentence nor a mapping", _FORM)
    _only(one, ("from", "to", "expect", "because", "namespace"), place)
    for field in ("from", "to", "expect"):
        if field not in one:
            raise UsageError(f"{place}: {field}: is not set", _FORM)
    if one["expect"] not in ("allow", "deny"):
        raise UsageError(f"{place}: expect: {one['expect']!r} is no verdict", "write allow or deny")
    return _checked(
        Expectation(
            senders=tuple(_ends(one["from"], f"{place}: from")),
            receivers=tuple(_ends(one["to"], f"{place}: to")),
            expected=Expected(one["expect"]),
            file=file,
            number=number,
            namespace=_text(one.get("namespace", namespace), f"{place}: namespace"),
            because=_text(one.get("because", ""), f"{place}: because"),
        )
    )


def _sentence(text: str, file: str, number: int, namespace: str) -> Expectation:
    found = _SENTENCE.fullmatch(" ".join(text.split()))
    if found is None:
        raise UsageError(f"{file}: expectation {number}: {text!r}: cannot be read", _FORM)
    return _checked(
        Expectation(
            senders=tuple(_named(found["senders"])),
            receivers=tuple(_named(found["receivers"])),
            expected=Expected.ALLOW if found["verb"] == "can" else Expected.DENY,
            file=file,
            number=number,
            namespace=namespace,
        )
    )


def _checked(one: Expectation) -> Expectation:
    for end in one.receivers:
        if isinstance(end, Everybody):
            raise UsageError(f"{one.place}: everybody cannot be the receiver", "name a workload or a Service")
        if isinstance(end, Selected) and not end.port:
            raise UsageError(f"{one.place}: to: port: is not set", "write {pods: app=db, port: 5432}")
    for end in one.senders:
        if isinstance(end, Selected) and end.port:
            raise UsageError(f"{one.place}: from: port: a sender has none that counts", "leave it away")
    return one


def _named(text: str) -> Iterator[End]:
    for part in filter(None, (part.strip() for part in text.split(","))):
        everybody = _EVERYBODY.fullmatch(part)
        yield Everybody(everybody["other"] is not None) if everybody else Named(part)


def _ends(value: object, place: str) -> Iterator[End]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise UsageError(f"{place}: is empty", _FORM)
    for one in values:
        if isinstance(one, dict):
            yield _selected(one, place)
        else:
            found = list(_named(_text(one, place)))
            if not found:
                raise UsageError(f"{place}: is empty", _FORM)
            yield from found


def _selected(one: dict[object, object], place: str) -> Selected:
    _only(one, ("namespace", "namespaces", "pods", "port"), place)
    if "namespace" in one and "namespaces" in one:
        raise UsageError(f"{place}: both namespace and namespaces", "name one, or select some by labels")
    if not one.keys() & {"namespace", "namespaces", "pods"}:
        raise UsageError(f"{place}: selects nothing", "write {namespace: shop, pods: app=web}")
    namespaces = one.get("namespaces")
    return Selected(
        namespace=_text(one.get("namespace", ""), f"{place}: namespace"),
        namespaces=None if namespaces is None else _selector(namespaces, f"{place}: namespaces"),
        pods=_selector(one.get("pods", ""), f"{place}: pods"),
        port=_text(one.get("port", ""), f"{place}: port"),
    )


def _selector(value: object, place: str) -> Selector:
    try:
        return parse(_text(value, place))
    except UsageError as error:
        raise UsageError(f"{place}: {value!r} is no selector of labels", error.hint) from error


def _only(given: dict[object, object], known: Sequence[str], place: str) -> None:
    for key in given:
        if key not in known:
            raise UsageError(f"{place}: {key}: is not known", f"there are: {', '.join(known)}")


def _text(value: object, place: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UsageError(f"{place}: {value!r} is no text", "put it in quotes")
    return str(value)

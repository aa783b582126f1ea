"""nftables programs as values: what to do to one table, and how that reads as nft text.

In: tables, chains, rules, maps, sets, elements. Out: a :class:`Transaction`, which the kernel takes whole or not at all.
Not here: which rules (``dataplane/nftables``), and how a transaction gets into a kernel (``linux/nft``).

Chains, rules and containers are objects; elements, of which there are 50,000, are tuples of atoms: an ``int`` for slots, IANA
protocol numbers, ports and labels, packed ``bytes`` for addresses (first and last together for a range). Values are checked when they are put into an operation.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from netloom.units import Family

Atom = int | bytes
Key = tuple[Atom, ...]

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,62}\Z")
_COMMENT = re.compile(r'[^"\\\n]{0,120}\Z')
_WORDS = {6: "tcp", 17: "udp", 132: "sctp", 1: "icmp", 58: "ipv6-icmp"}


class Field(enum.Enum):
    """One part of a key or value; the kernel gives each a multiple of four bytes."""

    SLOT = "slot"
    LABEL = "label"
    """A number in the packet's priority, which nft writes as ``major:minor`` in hexadecimal: where our rules note things for
    each other."""
    MARK = "mark"
    """The packet's mark."""
    ADDRESS = "address"
    SOURCE_RANGE = "source range"
    """From and to a source address, both included: the last part of an interval set's key."""
    PROTOCOL = "protocol"
    PORT = "port"
    MAC = "mac"
    """Six bytes."""


class Verdict(msgspec.Struct, frozen=True):
    """What a verdict map says; ``chain`` only with ``goto`` and ``jump``."""

    word: str
    chain: str = ""

    def __str__(self) -> str:
        return f"{self.word} {self.chain}" if self.chain else self.word


Value = Key | Verdict | None
"""Of a map its data, of a verdict map its verdict, of a set None."""
Element = tuple[Key, Value]


class Container(msgspec.Struct, frozen=True):
    """A map (``data``), a verdict map (``verdicts``) or a set (neither), with the parts of its key in order."""

    name: str
    key: tuple[Field, ...]
    data: tuple[Field, ...] = ()
    verdicts: bool = False
    most_written: int = 0
    """Where packets write it (``update`` in a rule): how many elements it holds at most; each has its own time to live."""

    @property
    def is_interval(self) -> bool:
        """True where keys are ranges."""
        return self.key[-1] is Field.SOURCE_RANGE

    def __post_init__(self) -> None:
        _check_name("map or set", self.name)
        if not self.key or (self.data and self.verdicts):
            raise ValueError(f"map or set {self.name}: it needs a key, and either data or verdicts")
        if Field.SLOT in (*self.key[1:], *self.data):
            raise ValueError(f"map or set {self.name}: a slot stands first in the key (nft 1.0.6)")
        if Field.SOURCE_RANGE in (*self.key[:-1], *self.data):
            raise ValueError(f"map or set {self.name}: a range stands last in the key")


class Hook(msgspec.Struct, frozen=True):
    """Where a base chain stands: chain type, hook, and priority as a number (netfilter_ipv4.h)."""

    type: str
    hook: str
    priority: int


class Chain(msgspec.Struct, frozen=True):
    """A chain; with a hook a base chain of policy accept."""

    name: str
    hook: Hook | None = None

    def __post_init__(self) -> None:
        _check_name("chain", self.name)


class AddTable(msgspec.Struct, frozen=True):
    """Make the table, if it is not there."""


class DeleteTable(msgspec.Struct, frozen=True):
    """Delete the table, which must be there, with everything in it."""


class AddContainer(msgspec.Struct, frozen=True):
    """Declare a map or set; one that is there stays as it is."""

    container: Container


class DeleteContainer(msgspec.Struct, frozen=True):
    """Delete a map or set that no rule refers to, with its elements."""

    container: Container


class AddChain(msgspec.Struct, frozen=True):
    """Make a chain; one that is there keeps its rules."""

    chain: Chain


class FlushChain(msgspec.Struct, frozen=True):
    """Take all rules out of a chain."""

    name: str


class DeleteChain(msgspec.Struct, frozen=True):
    """Delete an empty chain that nobody refers to."""

    name: str


class AddRule(msgspec.Struct, frozen=True):
    """Append a rule, in nft's words; where it is made of ``program.nft_rules`` statements, these too."""

    chain: str
    text: str
    comment: str = ""
    statements: tuple[msgspec.Struct, ...] = ()

    def __post_init__(self) -> None:
        if not self.text or "\n" in self.text or ";" in self.text:
            raise ValueError(f"rule of chain {self.chain}: one statement on one line, not {self.text!r}")
        if not _COMMENT.match(self.comment):
            raise ValueError(
                f"rule of chain {self.chain}: comment {self.comment!r} has quotes or is too long"
            )


class AddElements(msgspec.Struct, frozen=True):
    """Put elements in. The same element twice is no error; a key with another value is (EEXIST)."""

    container: Container
    elements: tuple[Element, ...]

    def __post_init__(self) -> None:
        _check_keys(self.container, (key for key, _ in self.elements))
        # by the kinds that there are: one look at each of 50,000 elements is enough
        kinds = {type(value) for _, value in self.elements}
        wanted = Verdict if self.container.verdicts else tuple if self.container.data else type(None)
        sizes = (
            {len(value) for _, value in self.elements if isinstance(value, tuple)}
            if wanted is tuple
            else set()
        )
        if kinds - {wanted} or sizes - {len(self.container.data)}:
            raise ValueError(
                f"{self.container.name}: {self._misfit(wanted)!r} is no value of this map or set"
            )

    def _misfit(self, wanted: type) -> Value:
        size = len(self.container.data)
        return next(
            value
            for _, value in self.elements
            if not isinstance(value, wanted) or (isinstance(value, tuple) and len(value) != size)
        )


class DeleteElements(msgspec.Struct, frozen=True):
    """Take elements out, each of which must be there (ENOENT)."""

    container: Container
    keys: tuple[Key, ...]

    def __post_init__(self) -> None:
        _check_keys(self.container, self.keys)


Op = (
    AddTable
    | DeleteTable
    | AddContainer
    | DeleteContainer
    | AddChain
    | FlushChain
    | DeleteChain
    | AddRule
    | AddElements
    | DeleteElements
)


class Transaction(msgspec.Struct, frozen=True):
    """Operations on one table that the kernel takes all together or not at all."""

    family: Family
    table: str
    ops: tuple[Op, ...]

    def __post_init__(self) -> None:
        _check_name("table", self.table)

    @property
    def only_elements(self) -> bool:
        """True where no chain, rule, map or table is touched."""
        return all(isinstance(op, AddElements | DeleteElements) for op in self.ops)

    @property
    def is_native(self) -> bool:
        """True where the kernel's encoding of all operations is known, so that no ``nft`` program is needed."""
        return all(_is_native(op) for op in self.ops)

    @property
    def count(self) -> int:
        """Number of operations, each element counted."""
        return sum(
            len(op.elements)
            if isinstance(op, AddElements)
            else len(op.keys)
            if isinstance(op, DeleteElements)
            else 1
            for op in self.ops
        )

    def render(self) -> str:
        """The transaction in nft syntax: an operation a line, an element a line."""
        return "".join(_render(self.family, self.table, op) for op in self.ops)


def _is_native(op: Op) -> bool:
    if isinstance(op, AddRule):
        return bool(op.statements)
    if isinstance(op, AddContainer):
        return not op.container.data and not op.container.most_written
    if isinstance(op, AddChain):
        return op.chain.hook is None
    return not isinstance(op, AddTable | DeleteTable)


def render_key(family: Family, fields: tuple[Field, ...], key: Key) -> str:
    """A key or value as nft writes it: ``10.96.0.10 . tcp . 80``."""
    return " . ".join(_ATOMS[field](atom) for field, atom in zip(fields, key, strict=True))


def render_element(container: Container, element: Element, family: Family) -> str:
    """An element as nft writes it: ``10.96.0.10 . tcp . 80 : goto balance-5``."""
    key, value = element
    text = render_key(family, container.key, key)
    if isinstance(value, Verdict):
        return f"{text} : {value}"
    return text if value is None else f"{text} : {render_key(family, container.data, value)}"


def _check_name(what: str, name: str) -> None:
    if not _NAME.match(name):
        raise ValueError(f"{what} {name!r}: a name is a letter, then letters, digits, - and _")


def _check_keys(container: Container, keys: Iterable[Key]) -> None:
    parts = len(container.key)
    given = list(keys)
    if set(map(len, given)) - {parts}:
        wrong = next(key for key in given if len(key) != parts)
        raise ValueError(f"{container.name}: key {wrong!r} has not {parts} parts")


def _address(atom: Atom) -> str:
    return str(ipaddress.ip_address(atom))


def _protocol(atom: Atom) -> str:
    return _WORDS.get(atom, str(atom)) if isinstance(atom, int) else repr(atom)


def _label(atom: Atom) -> str:
    return f"{atom >> 16:x}:{atom & 0xFFFF:x}" if isinstance(atom, int) else repr(atom)


def _range(atom: Atom) -> str:
    if isinstance(atom, int):
        return repr(atom)
    half = len(atom) // 2
    return f"{_address(atom[:half])}-{_address(atom[half:])}"


_ATOMS: dict[Field, Callable[[Atom], str]] = {
    Field.SLOT: str,
    Field.LABEL: _label,
    Field.MARK: lambda atom: f"{atom:#010x}" if isinstance(atom, int) else repr(atom),
    Field.ADDRESS: _address,
    Field.SOURCE_RANGE: _range,
    Field.PROTOCOL: _protocol,
    Field.PORT: str,
    Field.MAC: lambda atom: bytes(atom).hex(":") if isinstance(atom, bytes) else repr(atom),
}


def _typeof(family: Family, fields: tuple[Field, ...]) -> str:
    # With `th dport` in a map's data, nft 1.0.6 refuses to add a rule that translates by a map which is in the kernel already
    # ("conflicting protocols specified: ip vs. th"): such rules come with their map. What else it takes is worse: `tcp
    # dport` makes the rule match TCP only, and integers are listed as 0.
    words = {
        Field.SLOT: "numgen random mod 65536",
        Field.LABEL: "meta priority",
        Field.MARK: "meta mark",
        Field.ADDRESS: f"{family.value} daddr",
        Field.SOURCE_RANGE: f"{family.value} saddr",
        Field.PROTOCOL: "meta l4proto",
        Field.PORT: "th dport",
        Field.MAC: "ether saddr",
    }
    return " . ".join(words[field] for field in fields)


def _declaration(family: Family, container: Container) -> str:
    parts = [f"typeof {_typeof(family, container.key)}"]
    if container.verdicts:
        parts[0] += " : verdict"
    elif container.data:
        parts[0] += f" : {_typeof(family, container.data)}"
    if container.is_interval:
        parts.append("flags interval")
    if container.most_written:
        parts.append(f"size {container.most_written}; flags dynamic,timeout")
    return f"{{ {'; '.join(parts)}; }}"


def _kind(container: Container) -> str:
    return "map" if container.data or container.verdicts else "set"


def _render(family: Family, table: str, op: Op) -> str:
    where = f"{family.value} {table}"
    match op:
        case AddTable():
            text = f"add table {where}\n"
        case DeleteTable():
            text = f"delete table {where}\n"
        case AddContainer(container):
            text = f"add {_kind(container)} {where} {container.name} {_declaration(family, container)}\n"
        case DeleteContainer(container):
            text = f"delete {_kind(container)} {where} {container.name}\n"
        case AddChain(chain):
            text = f"add chain {where} {chain.name}{_base(chain.hook)}\n"
        case FlushChain(name):
            text = f"flush chain {where} {name}\n"
        case DeleteChain(name):
            text = f"delete chain {where} {name}\n"
        case AddRule(name, rule, comment):
            note = f' comment "{comment}"' if comment else ""
            text = f"add rule {where} {name} {rule}{note}\n"
        case AddElements(container, elements):
            lines = (render_element(container, element, family) for element in elements)
            text = _elements(f"add element {where} {container.name}", lines)
        case DeleteElements(container, keys):
            lines = (render_key(family, container.key, key) for key in keys)
            text = _elements(f"delete element {where} {container.name}", lines)
    return text


def _base(hook: Hook | None) -> str:
    if hook is None:
        return ""
    return f" {{ type {hook.type} hook {hook.hook} priority {hook.priority}; policy accept; }}"


def _elements(head: str, lines: Iterator[str]) -> str:
    body = ",\n  ".join(lines)
    return f"{head} {{\n  {body}\n}}\n" if body else ""

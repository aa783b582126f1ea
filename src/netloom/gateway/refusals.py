"""What in a plan made HAProxy refuse its configuration. In: what it said. Out: sources. Not here: what is done about it (``engine.py``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netloom.gateway.haproxy import told as texts
from netloom.gateway.haproxy.certificates import mark_of
from netloom.gateway.haproxy.difference import Running
from netloom.gateway.processes import Refused
from netloom.model.provenance import Source


def culprits(error: Refused, running: Running) -> Mapping[Source | str, Source]:
    """What to leave out, and where that comes from: rules, doors, and certificates by a mark of what is in them."""
    return dict(_culprits(error, running))


def _culprits(error: Refused, running: Running) -> Iterator[tuple[Source | str, Source]]:
    told = running.told
    for file in error.files:
        if file in told.certificates:
            yield mark_of(told.certificates[file]), told.lines_of[file]
        elif file in told.files:
            yield from _users(file, running)
        else:
            continue
        # the file is what is wrong, not the door whose line names it
        return
    lines = texts.text(told, running.slots).splitlines()
    for number in error.lines:
        if not 0 < number <= len(lines):
            continue
        if (source := told.lines_of.get(lines[number - 1].strip())) is not None:
            yield source, source
        else:
            yield from _section(lines, number, running)


def _section(lines: list[str], number: int, running: Running) -> Iterator[tuple[Source | str, Source]]:
    """Rules whose section it is: a lane's, or a door as a whole."""
    header = next((line for line in reversed(lines[:number]) if not line.startswith(" ")), "")
    kind, _, name = header.partition(" ")
    if kind == "backend" and name in running.told.lanes:
        yield from ((one, one) for one in running.told.sources.get(name, ()))
    found = next((front for front in running.told.fronts if front.header == header), None)
    if found is None:
        return
    condition = lines[number - 1].split()
    if condition[:1] == ["acl"]:
        users = [source for line, source in running.told.lines_of.items() if condition[1] in line.split()]
        if users:
            yield from ((one, one) for one in users)
            return
    if found.sources:
        yield from ((one, one) for one in found.sources)
    else:
        yield from _users(name, running)


def _users(word: str, running: Running) -> Iterator[tuple[Source | str, Source]]:
    """Rules of the lanes that refer to a file or a section."""
    for lane in running.told.lanes.values():
        if any(word in line for line in (*lane.lines, lane.server)):
            yield from ((one, one) for one in running.told.sources.get(lane.name, ()))

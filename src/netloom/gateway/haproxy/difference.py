"""How a running HAProxy is brought to what it should be told: commands at its runtime socket, or nothing less than a new process.

Comes in: what runs (``Running``) and what is told now. Goes out: commands and what runs then, or None where only a new process can do
it. Not here: the socket (``gateway/runtime.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from netloom.gateway.haproxy.quote import command_word
from netloom.gateway.haproxy.told import (
    SPARE_SLOTS,
    CertificateLine,
    Lane,
    Slots,
    Told,
    fresh_slots,
    place,
    spare_name,
)
from netloom.model.gateways.plan import Endpoint


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What a HAProxy that runs was told, and what became of its slots."""

    told: Told
    slots: Slots
    names: Mapping[str, str] = {}
    """Lanes that took the place of a spare one: by name, the name that HAProxy knows."""
    spares: tuple[str, ...] = ()
    """Those that are left."""

    def known(self, lane: str) -> str:
        """The name by which HAProxy knows a lane."""
        return self.names.get(lane, lane)


class Change(msgspec.Struct, frozen=True):
    """What to do, and what runs then."""

    commands: tuple[str, ...]
    """Each one command; those with a payload have it behind ``<<`` and a newline."""
    running: Running


def started(told: Told, spares: int) -> Running:
    """What runs when a process has started with this."""
    return Running(
        told=told,
        slots=fresh_slots(told, spares),
        spares=tuple(spare_name(number) for number in range(spares)),
    )


def change(running: Running, told: Told) -> Change | None:
    """The way from what runs to what is told now; None: only a new process can do it."""
    former = running.told
    if (former.fronts, former.files, former.ports) != (told.fronts, told.files, told.ports):
        return None
    if former.maps.keys() - told.maps.keys() or told.maps.keys() - former.maps.keys():
        return None
    renamed = _with_new_lanes(running, told)
    if renamed is None:
        return None
    lists = _lists(former, told)
    if lists is None:
        return None
    slots = dict(renamed.slots)
    servers = _servers(renamed, told, slots)
    if servers is None:
        return None
    # what is referred to comes before what refers to it; nobody refers any more to what goes last
    gone = (f"del ssl cert {file}" for file in former.certificates if file not in told.certificates)
    commands = (*_certificates(former, told), *lists, *servers, *_maps(running, renamed, told), *gone)
    return Change(
        commands,
        msgspec.structs.replace(renamed, told=told, slots=slots),
    )


def renamed_maps(running: Running, told: Told) -> dict[str, Mapping[str, str]]:
    """Maps as HAProxy has them, with its own names of lanes."""
    return {file: _renamed(running, entries) for file, entries in told.maps.items()}


def _renamed(running: Running, entries: Mapping[str, str]) -> Mapping[str, str]:
    if not running.names:
        return entries
    found = {}
    for key, value in entries.items():
        lane, space, rest = value.partition(" ")
        found[key] = f"{running.names.get(lane, lane)}{space}{rest}"
    return found


def _with_new_lanes(running: Running, told: Told) -> Running | None:
    """New lanes take the place of spare ones, where that is all that they need. Lanes that nobody leads to any more stay."""
    names = {lane: spare for lane, spare in running.names.items() if lane in told.lanes}
    # one that is free again can be taken, since nothing sets it apart
    given_back = [spare for lane, spare in running.names.items() if lane not in told.lanes]
    spares = [*running.spares, *given_back]
    for name, lane in told.lanes.items():
        if name in names:
            continue
        former = running.told.lanes.get(name)
        if former is not None or (name in running.slots and not name.startswith("bspare")):
            continue
        if not _fits_a_spare(lane, told, spares):
            return None
        names[name] = spares.pop()
    return msgspec.structs.replace(running, names=names, spares=tuple(spares))


def _fits_a_spare(lane: Lane, told: Told, spares: list[str]) -> bool:
    return bool(spares) and lane.is_plain and len(told.pools.get(lane.pool, ())) <= SPARE_SLOTS


def _servers(running: Running, told: Told, slots: dict[str, tuple[Endpoint | None, ...]]) -> list[str] | None:
    """Changes of slots; None where a lane has too few."""
    commands: list[str] = []
    former = running.told
    for name, lane in told.lanes.items():
        if not lane.pool:
            continue
        wanted = told.pools.get(lane.pool, ())
        if former.pools.get(lane.pool) is wanted and name in former.lanes:
            continue
        known = running.known(name)
        now = slots[known]
        if len(wanted) > len(now):
            return None
        filled = refilled(now, wanted)
        commands += _slot_commands(known, now, filled)
        slots[known] = filled
    return commands


def refilled(now: tuple[Endpoint | None, ...], wanted: tuple[Endpoint, ...]) -> tuple[Endpoint | None, ...]:
    """Who is in which slot next: whoever is there stays, newcomers take the free ones."""
    places = {(endpoint.address, endpoint.port): endpoint for endpoint in wanted}
    filled = [
        places.pop((endpoint.address, endpoint.port), None) if endpoint is not None else None
        for endpoint in now
    ]
    coming = iter(places.values())
    for number, endpoint in enumerate(filled):
        # a slot that was free is taken before one that is given up just now: its connections may finish in peace
        if endpoint is None and now[number] is None:
            filled[number] = next(coming, None)
    for number, endpoint in enumerate(filled):
        if endpoint is None:
            filled[number] = next(coming, None)
    return tuple(filled)


def _slot_commands(
    lane: str, now: tuple[Endpoint | None, ...], filled: tuple[Endpoint | None, ...]
) -> Iterator[str]:
    """Newcomers first, so that there is always somebody."""
    going: list[str] = []
    for number, (before, after) in enumerate(zip(now, filled, strict=True)):
        server = f"{lane}/s{number}"
        if after is None:
            if before is not None:
                going.append(f"set server {server} state maint")
        elif before is None or place(before) != place(after):
            yield f"set server {server} addr {after.address} port {after.port}"
            if before is None:
                yield f"set server {server} state ready"
    yield from going


def _maps(running: Running, renamed: Running, told: Told) -> Iterator[str]:
    for file, entries in told.maps.items():
        former = running.told.maps[file]
        if former is entries and running.names == renamed.names:
            continue
        was, now = _renamed(running, former), _renamed(renamed, entries)
        for key, value in now.items():
            before = was.get(key)
            if before is None:
                yield f"add map {file} {command_word(key)} {command_word(value)}"
            elif before != value:
                yield f"set map {file} {command_word(key)} {command_word(value)}"
        for key in was.keys() - now.keys():
            yield f"del map {file} {command_word(key)}"


def _certificates(former: Told, told: Told) -> Iterator[str]:
    for file, pem in told.certificates.items():
        before = former.certificates.get(file)
        if before == pem:
            continue
        if before is None:
            yield f"new ssl cert {file}"
        yield f"set ssl cert {file} <<\n{pem.rstrip()}\n"
        yield f"commit ssl cert {file}"


def _lists(former: Told, told: Told) -> list[str] | None:
    """Changes of who shows what; None for those of the first line, which is everybody's, and of the number of lists."""
    if former.lists.keys() != told.lists.keys():
        return None
    commands: list[str] = []
    for file, lines in told.lists.items():
        before = former.lists[file]
        if before == lines:
            continue
        if before[0] != lines[0] or not _is_apart(before, lines):
            return None
        commands += (f"del ssl crt-list {file} {line.file}" for line in before if line not in lines)
        commands += (f"add ssl crt-list {file} <<\n{line.text}\n" for line in lines if line not in before)
    return commands


def _is_apart(before: tuple[CertificateLine, ...], after: tuple[CertificateLine, ...]) -> bool:
    """Each file is in one line only, so that a line can be named by it."""
    return all(len({line.file for line in lines}) == len(lines) for lines in (before, after))

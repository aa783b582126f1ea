"""All endpoints that carry one port of a Service, before anything is decided about them.

Comes in: read slices, a port. Goes out: candidates. Not here: which of them are used (``pools.py``).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

import msgspec

from netloom.model.services.frontends import Backend, LeftOut
from netloom.model.services.ports import ServedPort
from netloom.model.services.slices import ReadEndpoint, ReadSlice
from netloom.units import Family

_value = operator.attrgetter("value")


class Candidates(msgspec.Struct, frozen=True, gc=False):
    """The endpoints of one Service port in one family."""

    backends: tuple[Backend, ...]
    """What each would be, in order of ``Backend.sort_key``."""
    endpoints: tuple[ReadEndpoint, ...]
    """The same, in the same order: what decides about them."""
    left_out: tuple[LeftOut, ...]
    """Those that can be no backend of this port in any case."""
    is_plain: bool
    """All are ready and without hints, and nobody is left out."""


def candidates_of(slices: Sequence[ReadSlice], family: Family, port: ServedPort) -> Candidates:
    """All endpoints that carry this Service port, each address and port once.

    Where an endpoint stands twice (the controller moves it from one slice to another), the more usable entry counts; of
    equals the first in the order of ``slices``.
    """
    if len(slices) == 1 and slices[0].is_plain and slices[0].family is family:
        carried = slices[0].ports.get(port.key)
        if carried is not None:
            return _plain(slices[0], carried[0])
    best: dict[int, tuple[ReadEndpoint, Backend]] = {}
    left_out: list[LeftOut] = []
    portless: list[ReadEndpoint] = []
    is_plain = True
    for slice_ in slices:
        if slice_.family is not family:
            continue
        left_out.extend(slice_.left_out)
        carried = slice_.ports.get(port.key)
        if carried is None:
            portless.extend(slice_.endpoints)
            continue
        number, is_plain = carried[0], is_plain and slice_.is_plain
        for candidate in zip(slice_.endpoints, slice_.backends_at(number), strict=True):
            key = candidate[0].value << 16 | number
            rival = best.setdefault(key, candidate)
            if candidate[0].usability < rival[0].usability:
                best[key] = candidate
    if portless:
        left_out.extend(_without_port(portless, {key >> 16 for key in best}, port))
    order = [best[key] for key in sorted(best)]  # numbers of one family sort as Backend.sort_key does
    return Candidates(
        tuple([backend for _, backend in order]),
        tuple([endpoint for endpoint, _ in order]),
        tuple(left_out),
        is_plain and not left_out,
    )


def _plain(slice_: ReadSlice, number: int) -> Candidates:
    """What nearly every Service has: one slice, nothing to decide about."""
    endpoints = sorted(slice_.endpoints, key=_value)
    backends = [Backend(one.address, number, one.node, one.pod, one.of, one.index) for one in endpoints]
    return Candidates(tuple(backends), tuple(endpoints), (), True)


def _without_port(endpoints: Sequence[ReadEndpoint], carried: set[int], port: ServedPort) -> list[LeftOut]:
    """Endpoints whose slice lacks the port, unless another slice has it for them."""
    named = f'port "{port.name}"' if port.name else "unnamed port"
    reason = f"its slice has no {named} with protocol {port.protocol.value}"
    return [
        LeftOut(str(one.address), reason, one.source.at("ports"))
        for one in endpoints
        if one.value not in carried
    ]

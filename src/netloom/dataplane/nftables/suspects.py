"""Which elements look wrong, read beside the changes and without disturbing them.

In: a table as it should be at the beginning, and a way to read the kernel. Out: keys that are worth a second look: while this reads,
changes go on, so some of them are right. The loop is left to others after each millisecond.
Not here: the second look (``audit``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from netloom.dataplane.nftables.compile import TableState
from netloom.dataplane.nftables.contents import mark, pieces
from netloom.errors import NftError
from netloom.linux.nft_dump import NftDump
from netloom.program import names
from netloom.program.nft import Container, Key
from netloom.units import Family

log = logging.getLogger(__name__)

MOST_SUSPECTS = 4096
"""Of one container; with more, the plane compares everything itself."""
_FRONTENDS_AT_ONCE = 25
"""Half a millisecond's work, with five endpoints each."""


async def suspects_in(dump: NftDump, table: TableState, places: Collection[Container]) -> dict[str, set[Key]]:
    """Keys by the name of their container, of these containers."""
    if not places:
        return {}
    marks = await _marks(table, {container.name for container in places})
    suspects = {container.name: await _strange(dump, table.family, container, marks) for container in places}
    if marks:  # what was not found
        for piece in pieces(table, _FRONTENDS_AT_ONCE):
            for name, found in piece.items():
                if name in suspects and len(suspects[name]) < MOST_SUSPECTS:
                    suspects[name].update(k for k, value in found.items() if mark(name, k, value) in marks)
            await asyncio.sleep(0)
    return suspects


async def _marks(table: TableState, places: Collection[str]) -> set[int]:
    """A number for each element that should be there."""
    marks: set[int] = set()
    for piece in pieces(table, _FRONTENDS_AT_ONCE):
        for name, found in piece.items():
            if name in places:
                marks.update(mark(name, key, value) for key, value in found.items())
        await asyncio.sleep(0)
    return marks


async def _strange(dump: NftDump, family: Family, container: Container, marks: set[int]) -> set[Key]:
    """Keys of elements that should not be there; of those that should, the mark is taken away."""
    strange: set[Key] = set()
    try:
        async for page in dump.elements(family, names.NFT_TABLE, container):
            for key, value in page:
                element = mark(container.name, key, value)
                if element in marks:
                    marks.discard(element)
                elif len(strange) < MOST_SUSPECTS:
                    strange.add(key)
            await asyncio.sleep(0)
    except NftError as error:
        log.debug("%s", error)  # it is missing, or another: the comparison of declarations says so
    return strange

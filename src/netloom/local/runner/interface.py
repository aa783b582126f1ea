"""A sandbox's interface, through CNI: attached with patience, detached without fail. In: records; out: results.

Not here: the calls themselves (``cni_client``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence

from netloom.errors import NetloomError
from netloom.local.runner.cni_client import TRY_AGAIN_LATER, Attachment, CniClient, CniFailed, CniResult
from netloom.local.runner.records import SandboxRecord

log = logging.getLogger(__name__)

RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_TRY_AGAIN_S = (0.02, 0.05, 0.1, 0.2, 0.5)
_TRIES = 25


def attachment_of(record: SandboxRecord, netns: str) -> Attachment:
    """The interface of a sandbox, as CNI names it; ``netns`` is empty where the sandbox is gone."""
    return Attachment(
        record.container_id, netns, record.namespace, record.name, record.uid, record.runtime_config
    )


async def attach(
    cni: CniClient, attachment: Attachment, *, on_wait: Callable[[str], None], give_up: Callable[[], bool]
) -> CniResult:
    """CNI ADD; the answer "try again later" (code 11) is obeyed for some ten seconds.

    Args:
        cni: the plugin.
        attachment: what to attach.
        on_wait: hears why it takes so long.
        give_up: asked before each further try.

    Raises:
        CniFailed: any other answer, or the same one for too long.
    """
    for _, wait_s in zip(range(_TRIES), endless(_TRY_AGAIN_S), strict=False):
        try:
            return await cni.add(attachment)
        except CniFailed as error:
            if error.code != TRY_AGAIN_LATER or give_up():
                raise
            on_wait(str(error))
        await asyncio.sleep(wait_s)
    return await cni.add(attachment)


async def detach(cni: CniClient, record: SandboxRecord, netns: str) -> None:
    """CNI DEL until it succeeds: an address must not stay taken, nor be given away while somebody has it."""
    if not record.host_network:
        attachment = attachment_of(record, netns)
        await insist(
            lambda: cni.delete(attachment, record.cni_result), what=f"pod {record.namespace}/{record.name}"
        )


async def insist(attempt: Callable[[], Awaitable[None]], *, what: str) -> None:
    """Repeat something that cannot be left undone, with growing pauses, until it succeeds. The first failure is logged."""
    told = False
    for wait_s in endless(RETRY_S):
        try:
            await attempt()
        except NetloomError as error:
            log.log(logging.DEBUG if told else logging.WARNING, "%s: %s", what, error)
            told = True
        else:
            return
        await asyncio.sleep(wait_s)


def endless(waits: Sequence[float]) -> Iterator[float]:
    """The waits, the last one for ever."""
    yield from waits
    while True:
        yield waits[-1]

"""What a node says of its sessions at the API server: its own entry in the status of each BGPPeer. In: sessions. Out: patches.

Only what has changed is written. Not here: where sessions are read (``bird.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec

from netloom.announce.bgp.bird import Session
from netloom.api.bgp import BGPPeer
from netloom.clock import Clock, rfc3339
from netloom.errors import NetloomError, NotFound
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.kube.resources import BGP_PEERS
from netloom.units import ObjectKey

log = logging.getLogger(__name__)


class Board:
    """The entries of one node.

    Args:
        node: its name.
        client: of the API.
        events: where sessions that come and go are told, too.
        clock: the time.
    """

    def __init__(self, *, node: str, client: KubeClient, events: EventRecorder, clock: Clock) -> None:
        self._node = node
        self._client = client
        self._events = events
        self._clock = clock
        self._told: dict[ObjectKey, Session] = {}

    async def tell(self, sessions: Mapping[str, Session], peers: Mapping[ObjectKey, BGPPeer]) -> None:
        """These are the sessions now, by BGPPeer. What cannot be written is tried again with the next call."""
        for key, peer in peers.items():
            session, before = sessions.get(key.name), self._told.get(key)
            if session is None:
                self._told.pop(key, None)
                if self._node in peer.status.nodes:
                    await self._write(key, None)
                continue
            if session == before and self._node in peer.status.nodes:
                continue
            if session != before:
                self._say(key, peer, session, before)
            at = {"since": rfc3339(self._clock.wall())}
            if await self._write(key, {"state": session.state, "message": session.error, **at}):
                self._told[key] = session
        for key in self._told.keys() - peers.keys():
            del self._told[key]

    def _say(self, key: ObjectKey, peer: BGPPeer, session: Session, before: Session | None) -> None:
        if before is not None and before.is_up == session.is_up:
            return
        log.info("BGPPeer %s: %s %s", key, session.state, session.error)
        if before is None and not session.is_up and not session.error:
            return  # it has only just begun
        if session.is_up:
            message, reason = f"{self._node} has a session with the peer", "SessionUp"
        else:
            message, reason = f"{self._node} has no session with the peer: {_words(session)}", "SessionDown"
        self._events.emit(
            BGP_PEERS, key, peer.metadata.uid, reason=reason, message=message, warning=not session.is_up
        )

    async def _write(self, key: ObjectKey, entry: Mapping[str, str] | None) -> bool:
        try:
            body = {"status": {"nodes": {self._node: entry}}}
            await self._client.patch(BGP_PEERS, key, body, subresource="status")
        except NotFound:
            return False
        except NetloomError as error:
            log.debug("status of BGPPeer %s: %s", key, error)
            return False
        return True


def _words(session: Session) -> str:
    return f"{session.state}, {session.error}" if session.error else session.state


REFUSED = "Refused"


def refused(problem: str) -> Session:
    """A session that is not tried."""
    return Session(REFUSED, problem)


class Entry(msgspec.Struct, frozen=True):
    """A session as ``netloom speaker status`` shows it."""

    peer: str
    address: str
    state: str
    error: str = ""

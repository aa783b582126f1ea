"""DNS over UDP: the loop that most queries never leave.

Comes in: a bound socket. Goes out: replies. A batch of datagrams is read in one system call, each is looked up by its bytes, the reply is
written over its query, and all replies leave in one call. What is not ready waits for its client's turn (``turns.py``).
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from time import perf_counter

from netloom.dns.clients import Clients
from netloom.dns.counters import Counters
from netloom.dns.floods import FloodGuard
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.turns import QueryTurns
from netloom.linux.mmsg import LENGTH_AT, LENGTH_STEP, PEER, SLOT, DatagramBatch

BATCH = 128
"""Datagrams that are read before others have their turn: about a millisecond's work."""
_SMALLEST = 12
"""What has no whole header is nothing."""


class UdpListener:
    """One UDP socket."""

    def __init__(
        self,
        *,
        sock: socket.socket,
        prepared: PreparedAnswers,
        clients: Clients,
        turns: QueryTurns,
        guard: FloodGuard,
        counters: Counters,
    ) -> None:
        self._sock = sock
        self._prepared = prepared
        self._clients = clients
        self._turns = turns
        self._guard = guard
        self._counters = counters
        self._batch = DatagramBatch(sock, size=BATCH)
        self._open = False

    def start(self) -> None:
        """Answer from now on, on the running loop."""
        self._open = True
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._readable)

    def close(self) -> None:
        """Stop answering. The socket stays open: it may be another's, too."""
        self._open = False
        asyncio.get_running_loop().remove_reader(self._sock.fileno())

    def _readable(self) -> None:  # noqa: PLR0915  one loop without calls: each would cost as much as the work itself
        batch = self._batch
        began = perf_counter()
        count = batch.receive()
        arena, peers, lengths = batch.arena, batch.peers, batch.lengths
        reply_peers, vectors = batch.reply_peers, batch.reply_vectors
        arena_address, peers_address = batch.arena_address, batch.peers_address
        address_at, address_end = batch.address_at, batch.address_end
        prepared, known, meet = self._prepared.shared.get, self._clients.by_address.get, self._clients.meet
        make = self._prepared.make
        ready = at = peer = 0
        length = LENGTH_AT
        for _ in range(count):
            end = at + lengths[length]
            address = peers[peer + address_at : peer + address_end]
            client = known(address) or meet(address)
            if client is not None:
                client.queries += 1
                key = arena[at + 2 : end].lower()
                entry = prepared(key) or client.answers.get(key) or make(key)
                if entry is not None:
                    head, cut, tail, turns, _ = entry
                    entry[4] += 1
                    if turns is not None:
                        tail = next(turns)
                    arena[at + 2 : at + 12] = head
                    start = end - cut
                    end = start + len(tail)
                    arena[start:end] = tail
                    reply_peers[ready * 8] = peers_address + peer
                    vectors[ready * 2] = arena_address + at
                    vectors[ready * 2 + 1] = end - at
                    ready += 1
                elif end - at >= _SMALLEST:
                    send = partial(self._send, peers[peer : peer + batch.peer_size])
                    self._turns.add(client, arena[at:end], send)
                else:
                    self._counters.malformed += 1
            else:
                self._counters.strangers += 1
            at += SLOT
            peer += PEER
            length += LENGTH_STEP
        if ready:
            self._counters.dropped += batch.send(ready)
            self._counters.reply_seconds.observe(perf_counter() - began, ready)
        self._counters.udp_queries += count
        if count == BATCH:
            self._guard.hurry()

    def _send(self, peer: bytes, reply: bytes) -> None:
        # After close() the descriptor may be anything: whoever still waits for upstream servers gets no answer.
        if not (self._open and self._batch.send_one(peer, reply)):
            self._counters.dropped += 1

"""Batches of datagrams, and filters that let a share of senders in, by the kernel of this machine."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from netloom.errors import KernelError
from netloom.linux.mmsg import (
    LENGTH_AT,
    LENGTH_STEP,
    PEER,
    SLOT,
    DatagramBatch,
    backlog,
    enlarge_receive_buffer,
)
from netloom.linux.netns import open_socket
from netloom.linux.socket_filter import limit_senders, program
from netloom.testing.netns import fresh_netns

pytestmark = pytest.mark.netns


@pytest.fixture
def inside() -> Iterator[int]:
    with fresh_netns() as netns:
        yield netns


@contextlib.contextmanager
def bound(netns: int, address: str, family: int = socket.AF_INET) -> Iterator[socket.socket]:
    with open_socket(netns, family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((address, 0))
        yield sock


def lengths(batch: DatagramBatch, count: int) -> list[int]:
    return [batch.lengths[i * LENGTH_STEP + LENGTH_AT] for i in range(count)]


def put(batch: DatagramBatch, reply: int, slot: int, data: bytes) -> None:
    batch.arena[slot * SLOT : slot * SLOT + len(data)] = data
    batch.reply_peers[reply * 8] = batch.peers_address + slot * PEER
    batch.reply_vectors[reply * 2] = batch.arena_address + slot * SLOT
    batch.reply_vectors[reply * 2 + 1] = len(data)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_batch_is_read_and_answered_in_place(inside, family, address):
    with bound(inside, address, family) as server, bound(inside, address, family) as client:
        batch = DatagramBatch(server, size=4)
        assert batch.receive() == 0
        for text in (b"a", b"bb", b"", b"dddd", b"e" * 5000):
            client.sendto(text, server.getsockname())
        assert batch.receive() == 4
        assert lengths(batch, 4) == [1, 2, 0, 4]
        assert batch.arena[SLOT : SLOT + 2] == b"bb"
        here = batch.peers[PEER + batch.address_at : PEER + batch.address_end]
        assert here == socket.inet_pton(family, address)
        put(batch, 0, 1, b"BB!")
        put(batch, 1, 3, b"D")
        assert batch.send(2) == 0
        assert [client.recv(100) for _ in range(2)] == [b"BB!", b"D"]
        assert batch.receive() == 1
        assert lengths(batch, 1) == [SLOT], "cut short"
        assert batch.send_one(batch.peers[: batch.peer_size], b"one")
        assert client.recv(100) == b"one"


def test_a_reply_that_cannot_be_sent_does_not_hold_up_the_others(inside):
    with bound(inside, "127.0.0.1") as server, bound(inside, "127.0.0.1") as client:
        batch = DatagramBatch(server, size=4)
        for text in (b"a", b"b", b"c"):
            client.sendto(text, server.getsockname())
        assert batch.receive() == 3
        batch.peers[PEER + 4 : PEER + 8] = bytes((192, 0, 2, 1))  # no route leads there
        for slot, text in enumerate((b"A", b"B", b"C")):
            put(batch, slot, slot, text)
        assert batch.send(3) == 1
        assert [client.recv(100) for _ in range(2)] == [b"A", b"C"]
        assert not batch.send_one(batch.peers[PEER : PEER + 16], b"x")


def test_how_full_a_buffer_is(inside):
    with bound(inside, "127.0.0.1") as server, bound(inside, "127.0.0.1") as client:
        assert backlog(server) == 0
        for _ in range(2000):
            client.sendto(bytes(1000), server.getsockname())
        assert backlog(server) > 0.9
        enlarge_receive_buffer(server, 8 << 20)
        assert backlog(server) < 0.9


@pytest.mark.parametrize(
    ("family", "loud", "quiet"), [(socket.AF_INET, "127.0.0.7", "127.0.0.8"), (socket.AF_INET6, "::1", "::1")]
)
def test_a_share_of_one_sender_is_let_in_and_all_of_others(inside, family, loud, quiet):
    with (
        bound(inside, "127.0.0.1" if family == socket.AF_INET else "::1", family) as server,
        bound(inside, loud, family) as one,
        bound(inside, quiet, family) as other,
    ):
        enlarge_receive_buffer(server, 4 << 20)
        limit_senders(server, {})  # none was there
        counts = {}
        nobody = socket.inet_pton(family, "192.0.2.1" if family == socket.AF_INET else "2001:db8::1")
        for share in (0.25, 1.0):
            limit_senders(server, {nobody: 0.0, socket.inet_pton(family, loud): share})
            for _ in range(400):
                one.sendto(b"1", server.getsockname())
                if loud != quiet:
                    other.sendto(b"2", server.getsockname())
            got = b""
            with contextlib.suppress(BlockingIOError):
                while True:
                    got += server.recv(10)
            counts[share] = (got.count(b"1"), got.count(b"2"))
        assert 40 < counts[0.25][0] < 200
        assert counts[1.0][0] >= 399, "one in four billion may be missed"
        assert all(c[1] == (400 if loud != quiet else 0) for c in counts.values())
        limit_senders(server, {})
        one.sendto(b"1", server.getsockname())
        assert server.recv(10) == b"1"


def test_programs_have_a_bound_and_a_kernel_that_refuses_is_told():
    many = {bytes((10, 0, i // 250, i % 250)): 0.5 for i in range(1000)}
    assert len(program(many)) // 8 == 64 * 6 + 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.close()
        with pytest.raises((KernelError, OSError)):
            limit_senders(sock, many)

"""IPAM: any history of reservations, releases, deaths and full ranges keeps the record exact and durable."""

from __future__ import annotations

import ipaddress
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from netloom.cni.ipam.store import AddressStore, Attachment, usable
from netloom.errors import Unavailable

RANGES = (ipaddress.ip_network("192.0.2.0/28"), ipaddress.ip_network("2001:db8::/124"))
ROOM = 13
"""Usable addresses of each range: 16 less the network's own, the first after it and the last."""

attachments = st.builds(
    Attachment, st.sampled_from([f"c{i}" for i in range(16)]), st.sampled_from(["eth0", "net1"])
)


def image_of(path: Path, into: Path) -> Path:
    """The files as SIGKILL would leave them now: what the process has written is in the page cache, nothing else is."""
    into.mkdir()
    for file in (path, path.with_name(path.name + "-wal")):
        if file.exists():
            shutil.copy(file, into / file.name)
    return into / path.name


class StoreMachine(RuleBasedStateMachine):
    """The store beside a dictionary that says what it must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="netloom-ipam-"))
        self.generation = 0

    @initialize()
    def open_store(self) -> None:
        self.path = self.directory / "ipam.db"
        self.store = AddressStore(self.path)
        self.held: dict[Attachment, tuple] = {}
        self.freed: list = []
        self.handed_out: set = set()

    @rule(attachment=attachments)
    def reserve(self, attachment: Attachment) -> None:
        before = self.held.get(attachment)
        if before is None and len(self.held) == ROOM:
            with pytest.raises(Unavailable, match=attachment.container):
                self.store.reserve(attachment, RANGES)
            return
        addresses = self.store.reserve(attachment, RANGES, "shop/cart")
        if before is not None:
            assert addresses == before
            return
        for address, network in zip(addresses, RANGES, strict=True):
            first, last = usable(network)
            assert int(first) <= int(address) <= int(last)
            fresh = len({a for a in self.handed_out if a.version == address.version}) < ROOM
            if fresh:
                assert address not in self.handed_out, "reused although unused ones are left"
            else:
                oldest = next(a for a in self.freed if a.version == address.version)
                assert address == oldest, "not the one that has been unused for longest"
                self.freed.remove(address)
        self.handed_out.update(addresses)
        self.held[attachment] = addresses

    @rule(attachment=attachments)
    def release(self, attachment: Attachment) -> None:
        addresses = self.held.pop(attachment, ())
        assert self.store.release(attachment) == bool(addresses)
        self.freed.extend(addresses)

    @rule()
    def die_and_come_back(self) -> None:
        """SIGKILL between two calls: the files are taken as they lie, without a close."""
        self.generation += 1
        image = image_of(self.path, self.directory / f"image-{self.generation}")
        self.store.close()
        self.path = image
        self.store = AddressStore(self.path)

    @precondition(lambda self: len(self.held) < ROOM)
    @rule(attachment=attachments, data=st.data())
    def die_during_reserve(self, attachment: Attachment, data: st.DataObject) -> None:
        """SIGKILL between any two statements of a reservation leaves "before" or "after", and "before" is repeatable."""
        images: list[Path] = []

        def snapshot(_statement: str) -> None:
            self.generation += 1
            images.append(image_of(self.path, self.directory / f"image-{self.generation}"))

        self.store._db.set_trace_callback(snapshot)
        try:
            self.reserve(attachment)
        finally:
            self.store._db.set_trace_callback(None)
        after = {lease.attachment: lease.addresses for lease in self.store.leases()}
        before = {a: addresses for a, addresses in after.items() if a != attachment}
        image = data.draw(st.sampled_from(images))
        revived = AddressStore(image)
        found = {lease.attachment: lease.addresses for lease in revived.leases()}
        assert found in (before, after)
        again = revived.reserve(attachment, RANGES)
        assert not any(set(again) & set(others) for a, others in found.items() if a != attachment)
        revived.close()

    @invariant()
    def record_is_exact(self) -> None:
        if not hasattr(self, "store"):
            return
        assert {lease.attachment: lease.addresses for lease in self.store.leases()} == self.held
        everybody = [a for addresses in self.held.values() for a in addresses]
        assert len(everybody) == len(set(everybody))

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
        shutil.rmtree(self.directory)


StoreMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
TestStoreMachine = StoreMachine.TestCase


@given(prefix=st.integers(24, 32), count=st.integers(1, 5))
def test_ranges_of_any_size_never_give_what_is_not_usable(prefix: int, count: int):
    network = ipaddress.ip_network(f"192.0.2.0/{prefix}")
    with tempfile.TemporaryDirectory() as directory:
        store = AddressStore(Path(directory) / "ipam.db")
        room = max(0, network.num_addresses - 3)
        given_out = []
        for i in range(count):
            try:
                given_out += store.reserve(Attachment(f"c{i}", "eth0"), [network])
            except Unavailable:
                break
        store.close()
    assert len(given_out) == min(count, room)
    assert network.network_address not in given_out
    assert network.broadcast_address not in given_out


def test_sqlite_is_the_one_we_reason_about():
    """The snapshots above rest on WAL: a commit is one append to the -wal file."""
    with tempfile.TemporaryDirectory() as directory:
        store = AddressStore(Path(directory) / "ipam.db")
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        store.close()
    assert sqlite3.sqlite_version_info >= (3, 37)

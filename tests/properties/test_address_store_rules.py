"""The record of addresses beside plain dictionaries, with everything that may happen to it, in any order."""

from __future__ import annotations

import ipaddress
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from netloom.cni.ipam.lease import Exhausted, PortMapping, Taken
from netloom.cni.ipam.store import AddressStore, Attachment

FOUR, SIX = ipaddress.ip_network("192.0.2.0/30"), ipaddress.ip_network("2001:db8::/126")
ALL = {4: list(FOUR), 6: list(SIX)}
DELAY = 100.0

attachments = st.builds(Attachment, st.sampled_from([f"c{i}" for i in range(6)]), st.just("eth0"))
pods = st.sampled_from(["shop/a", "shop/b", ""])
addresses = st.sampled_from([*FOUR, *SIX])
ports = st.sampled_from([(), (PortMapping(80, 8080, "tcp"),)])


class Time:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class RulesMachine(RuleBasedStateMachine):
    """What the record must say after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="netloom-ipam-"))
        self.generation = 0

    @initialize()
    def begin(self) -> None:
        self.time = Time()
        self.path = self.directory / "ipam.db"
        self.store = AddressStore(self.path, clock=self.time, reuse_delay_s=DELAY)
        self.held: dict[Attachment, dict[int, object]] = {}
        self.pod: dict[Attachment, str] = {}
        self.ports: dict[Attachment, tuple] = {}
        self.freed: dict[object, tuple[int, float, str]] = {}
        """Order, time and last pod of what is free and was used."""
        self.lent: dict[object, str] = {}
        self.order = 0

    # --- the plain reading of the rules

    def taken(self, address, but=None):
        return any(address in got.values() for a, got in self.held.items() if a != but)

    def expected(self, version, attachment, reserved, *, hurry):
        """The addresses of which one must be given; none where nothing is left."""
        mine = self.held.get(attachment, {}).get(version)
        if mine is not None:
            return [mine]
        free = [
            a
            for a in ALL[version]
            if not self.taken(a)
            and a not in self.lent
            and not any(a in r for r in reserved if r.version == version)
        ]
        rested = [a for a in free if a not in self.freed or self.freed[a][1] <= self.time.now - DELAY]
        fresh = [a for a in rested if a not in self.freed]
        used = [a for a in rested if a in self.freed]
        if rested:  # what was reserved when its turn came is fresh, and comes after what has rested
            return fresh + ([min(used, key=self.rank)] if used else [])
        return [min(free, key=self.rank)] if hurry and free else []

    def rank(self, address):
        """Unused for longest first: by time (what was never used in earnest has none), then by order."""
        order, at, _ = self.freed[address]
        return at, order

    def free(self, address, pod, at):
        self.order += 1
        self.freed[address] = (self.order, at, pod)

    def note(self, attachment, pod, got, mapped):
        before = self.held.get(attachment, {})
        for address in got:
            old = before.get(address.version)
            if old is not None and old != address:
                self.free(old, self.pod[attachment], self.time.now)
            self.freed.pop(address, None)
        self.held[attachment] = {address.version: address for address in got}
        if set(before.values()) != set(got):
            self.pod[attachment] = pod
        self.ports[attachment] = mapped

    # --- what may happen

    @rule(
        attachment=attachments,
        pod=pods,
        reserved=st.sets(addresses, max_size=3),
        hurry=st.booleans(),
        mapped=ports,
    )
    def reserve(self, attachment, pod, reserved, hurry, mapped) -> None:
        left_out = [ipaddress.ip_network(a) for a in reserved]
        expected = {v: self.expected(v, attachment, left_out, hurry=hurry) for v in (4, 6)}
        words = {"blocks": [FOUR, SIX], "reserved": left_out, "hurry": hurry, "ports": mapped}
        if not all(expected.values()):
            with pytest.raises(Exhausted):
                self.store.reserve(attachment, [], pod, **words)
            return
        got = self.store.reserve(attachment, [], pod, **words)
        assert [a.version for a in got] == [4, 6]
        for address in got:
            assert address in expected[address.version]
        if attachment in self.held:
            pod = self.pod[attachment]
        self.note(attachment, pod, got, mapped)

    @rule(attachment=attachments, pod=pods, wanted=addresses)
    def ask(self, attachment, pod, wanted) -> None:
        if attachment in self.held:
            return  # a repeated ADD that asks for another is in the unit tests
        other = self.expected(10 - wanted.version, attachment, [], hurry=True)
        rests = wanted in self.freed and self.freed[wanted][1] > self.time.now - DELAY
        is_stranger = rests and (not pod or self.freed[wanted][2] != pod)
        words = {"blocks": [FOUR, SIX], "requested": [wanted]}
        if self.taken(wanted) or wanted in self.lent or is_stranger or not other:
            with pytest.raises((Taken, Exhausted)):
                self.store.reserve(attachment, [], pod, **words)
            return
        got = self.store.reserve(attachment, [], pod, **words)
        assert wanted in got
        self.note(attachment, pod, got, ())

    @rule(attachment=attachments, was_used=st.booleans())
    def release(self, attachment, was_used) -> None:
        got = self.held.pop(attachment, {})
        assert self.store.release(attachment, was_used=was_used) == bool(got)
        self.order += 1
        for address in got.values():
            self.freed[address] = (self.order, self.time.now if was_used else 0.0, self.pod[attachment])
        self.ports.pop(attachment, None)

    @rule(address=addresses)
    def lend(self, address) -> None:
        holding = self.store.lend(address, f"block-{address}")
        assert (holding is not None) == self.taken(address)
        if holding is None:
            self.lent[address] = f"block-{address}"
            self.freed.pop(address, None)

    @rule(kept=st.sets(addresses))
    def take_back(self, kept) -> None:
        gone = sorted((a for a in self.lent if a not in kept), key=lambda a: (a.version, int(a)))
        assert self.store.take_back([f"block-{a}" for a in kept]) == len(gone)
        pods_of = {h.address: h.pod for h in self.store.holdings()}
        for address in gone:
            del self.lent[address]
            self.free(address, pods_of[address], self.time.now)

    @rule(seconds=st.sampled_from([1.0, 50.0, 101.0]))
    def wait(self, seconds) -> None:
        self.time.now += seconds

    @rule()
    def die_and_come_back(self) -> None:
        """SIGKILL: the files are taken as they lie."""
        self.generation += 1
        into = self.directory / f"image-{self.generation}"
        into.mkdir()
        for file in (self.path, self.path.with_name(self.path.name + "-wal")):
            if file.exists():
                shutil.copy(file, into / file.name)
        self.store.close()
        self.path = into / self.path.name
        self.store = AddressStore(self.path, clock=self.time, reuse_delay_s=DELAY)

    @invariant()
    def record_is_exact(self) -> None:
        if not hasattr(self, "store"):
            return
        found = {lease.attachment: lease for lease in self.store.leases()}
        assert {a: set(lease.addresses) for a, lease in found.items()} == {
            a: set(got.values()) for a, got in self.held.items()
        }
        assert {a: lease.ports for a, lease in found.items()} == self.ports
        for network in (FOUR, SIX):
            usage = self.store.usage(network)
            resting = [
                a
                for a, (_, at, _) in self.freed.items()
                if a.version == network.version and at > self.time.now - DELAY
            ]
            assert usage.used == sum(
                a.version == network.version for got in self.held.values() for a in got.values()
            )
            assert usage.quarantined == len(resting)
            assert usage.lent == sum(a.version == network.version for a in self.lent)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
        shutil.rmtree(self.directory)


RulesMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestRulesMachine = RulesMachine.TestCase

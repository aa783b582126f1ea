"""Changes that wait for their turn, and how far they reach."""

from netloom.engine.pending import Pending, count, is_empty
from netloom.testing.builders import service
from netloom.units import ObjectKey


class Ticking:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def wall(self):
        return 0.0


def test_pending_keeps_the_newest_of_each_key():
    pending = Pending(clock=Ticking())
    pending.mark("services", ObjectKey("shop", "cart"), service("shop/cart", "10.96.0.20"))
    pending.mark("services", ObjectKey("shop", "cart"), None)
    pending.mark("pods", ObjectKey("shop", "p"), None)
    taken = pending.take_now()
    assert count(taken.changes) == 2
    assert taken.changes.services == {ObjectKey("shop", "cart"): None}
    assert is_empty(pending.take_now().changes)


def test_versions_go_with_the_changes_that_they_cover():
    pending = Pending(clock=Ticking())
    pending.mark("pods", ObjectKey("shop", "p"), None)
    pending.seen("pods", "7")
    pending.seen("pods", "9")
    assert pending.take_now().versions == {"pods": "9"}
    assert pending.take_now().versions == {}


async def test_a_version_alone_is_something_to_take():
    pending = Pending(clock=Ticking())
    pending.seen("slices", "12")
    taken = await pending.take()
    assert is_empty(taken.changes)
    assert taken.versions == {"slices": "12"}
    assert taken.since is None


async def test_the_wait_counts_from_the_first_change_of_a_turn():
    clock = Ticking()
    pending = Pending(clock=clock)
    pending.mark("pods", ObjectKey("shop", "p"), None)
    clock.now += 3
    pending.mark("pods", ObjectKey("shop", "q"), None)
    assert (await pending.take()).since == 100.0
    pending.mark("pods", ObjectKey("shop", "q"), None)
    assert (await pending.take()).since == 103.0

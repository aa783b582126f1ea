"""What should be open is open, what is taken is told once and tried again, and neither stops the others."""

from __future__ import annotations

import errno

from netloom.agent.servers.listeners import Listeners
from netloom.errors import KernelError
from netloom.model.provenance import Source


class Ports:
    """Ports of which some are taken."""

    def __init__(self) -> None:
        self.taken: dict[int, int] = {}
        self.open: list[int] = []
        self.tried: list[int] = []

    async def open_one(self, port: int):
        self.tried.append(port)
        if port in self.taken:
            raise KernelError(f"listen at {port}", self.taken[port], "taken", "give it another port")
        self.open.append(port)
        ports = self

        class Open:
            def close(self) -> None:
                ports.open.remove(port)

        return Open()


def listeners(ports: Ports) -> Listeners[int]:
    return Listeners(open_one=ports.open_one, source_of=lambda port: Source("Service", "shop", f"s{port}"))


async def test_the_set_is_followed_and_what_stays_is_left_alone():
    ports = Ports()
    those = listeners(ports)
    those.want([1, 2])
    await those.settle()
    those.want([2, 3])
    assert ports.open == [2], "what is not wanted is closed at once"
    await those.settle()
    assert ports.open == [2, 3]
    assert ports.tried == [1, 2, 3]
    those.close()
    assert ports.open == []


async def test_a_taken_port_is_told_once_by_name_and_tried_when_asked():
    ports = Ports()
    those = listeners(ports)
    ports.taken[2] = errno.EADDRINUSE
    those.want([1, 2, 3])
    (found,) = await those.settle()
    assert str(found) == "Service shop/s2: listen at 2: taken (errno 98); give it another port"
    assert ports.open == [1, 3]
    those.add(4)
    assert await those.settle() == ()
    assert ports.tried == [1, 2, 3, 4], "a change elsewhere is no reason to try again"
    those.retry()
    assert await those.settle() == ()
    assert those.findings == (found,)
    del ports.taken[2]
    those.retry()
    await those.settle()
    assert those.findings == ()
    assert sorted(ports.open) == [1, 2, 3, 4]


async def test_a_failed_port_that_nobody_wants_any_more_is_forgotten():
    ports = Ports()
    those = listeners(ports)
    ports.taken[1] = errno.EADDRINUSE
    those.want([1])
    await those.settle()
    those.drop(1)
    assert those.findings == ()
    those.retry()
    await those.settle()
    assert ports.tried == [1]


async def test_without_descriptors_nothing_more_is_tried_and_one_word_is_said():
    ports = Ports()
    those = listeners(ports)
    ports.taken = dict.fromkeys(range(100), errno.EMFILE)
    those.want(range(100))
    assert len(await those.settle()) == 1
    assert len(ports.tried) == 1
    ports.taken.clear()
    those.retry()
    await those.settle()
    assert sorted(ports.open) == list(range(100))


async def test_what_is_dropped_while_it_is_opened_does_not_stay_open():
    ports = Ports()

    async def open_slowly(port: int):
        listener = await ports.open_one(port)
        those.drop(port)
        return listener

    those = Listeners(open_one=open_slowly, source_of=lambda port: Source("Service", "shop", f"s{port}"))
    those.want([1])
    await those.settle()
    assert ports.open == []

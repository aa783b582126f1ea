"""A program that outlived who started it is found by its directory, and its sockets are taken over without a gap."""

import asyncio
import os
import signal
import socket
import subprocess
import sys

import pytest

from netloom.linux import inherited

LISTENS = """
import signal, socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)] + [socket.socketpair()[0]]
print(*(s.getsockname()[1] for s in sockets[:2]), flush=True)
signal.pause()
"""


@pytest.fixture
def left(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENS], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    ports = [int(word) for word in process.stdout.readline().split()]
    yield process, ports, tmp_path
    process.kill()
    process.wait()
    process.stdout.close()


def comm(process):
    with open(f"/proc/{process.pid}/comm") as file:
        return file.read().strip()


async def test_its_sockets_are_taken_over(left):
    process, ports, directory = left
    (found,) = inherited.find(comm(process), directory)
    assert found.pid == process.pid
    sockets = found.listening()
    assert sorted(s.getsockname()[1] for s in sockets) == sorted(ports)
    waiting = socket.create_connection(("127.0.0.1", ports[0]), timeout=5)
    assert not found.has_ended
    found.kill(signal.SIGTERM)
    await asyncio.wait_for(found.wait(), 5)
    assert found.has_ended
    taken = next(s for s in sockets if s.getsockname()[1] == ports[0])
    accepted, _ = taken.accept()
    accepted.sendall(b"here")
    assert waiting.recv(10) == b"here", "who waited in the queue is served by the next"
    found.close()
    for one in (*sockets, waiting, accepted):
        one.close()


def test_others_are_not_found(left, tmp_path_factory):
    process, _, directory = left
    assert inherited.find("haproxy", directory) == []
    assert inherited.find(comm(process), tmp_path_factory.mktemp("other")) == []
    assert os.getpid() not in {one.pid for one in inherited.find(comm(process), directory)}

"""Several processes under one that keeps their sockets: they are started again, and end together."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from netloom.clock import SystemClock
from netloom.dns.main import DnsConfig, run
from netloom.dns.workers import Workers
from netloom.linux import process


def test_a_process_that_ends_is_started_again_and_all_end_together():
    reading, writing = os.pipe()
    keeper = os.fork()
    if keeper == 0:  # the keeper is a process of its own here: it takes signals, and forks
        os.close(reading)

        def worker() -> int:
            os.write(writing, b"%9d\n" % os.getpid())
            signal.pause()
            return 0

        code = 1
        try:
            code = Workers([worker, worker], clock=SystemClock()).run()
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading, "rb") as pipe:
        first, second = (int(pipe.readline()) for _ in range(2))
        os.kill(first, signal.SIGKILL)
        third = int(pipe.readline())
        assert third not in (first, second)
        os.kill(keeper, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1]) == 0
        assert pipe.read() == b"", "nobody holds the other end any more"


@pytest.mark.parametrize("workers", [-1, 65])
def test_a_number_out_of_range(tmp_path, caplog, workers):
    config = DnsConfig(listen=("127.0.0.1",), feed_socket=str(tmp_path / "dns.sock"), workers=workers)
    assert run(config) == 2
    assert "workers" in caplog.text


async def test_each_process_has_its_own_feed(tmp_path: Path):
    config = DnsConfig(
        listen=("127.0.0.1",),
        port=0,
        feed_socket=str(tmp_path / "dns.sock"),
        workers=1,
        node_resolvers=("192.0.2.53",),
    )
    (tmp_path / "dns.json").write_bytes(msgspec.json.encode(config))
    argv = (sys.executable, "-m", "netloom.dns.main", str(tmp_path / "dns.json"))
    made = await process.spawn(process.Command(argv=argv, stderr=process.PIPE))
    try:
        assert made.stderr is not None
        assert b"answering at" in made.stderr.readline()
        assert (tmp_path / "dns.sock").is_socket()
        made.kill(signal.SIGTERM)
        assert await made.wait() == 0
        assert not (tmp_path / "dns.sock").exists()
    finally:
        made.close()

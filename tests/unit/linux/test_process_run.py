"""Commands without namespaces: output, exit codes, time limits, and nothing left open."""

from __future__ import annotations

import os
import signal

import pytest

from netloom.errors import NotFound, Unavailable
from netloom.linux.process import PIPE, Command, run, spawn


async def test_output_errors_and_exit_code_come_back():
    done = await run(["sh", "-c", "cat; echo oops >&2; exit 3"], input=b"hello")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"hello", b"oops\n")


async def test_large_input_and_output_do_not_block_each_other():
    data = os.urandom(3 << 20)
    done = await run(["cat"], input=data)
    assert done.stdout == data


async def test_the_environment_is_what_was_given():
    done = await run(["/usr/bin/env"], env={"ONLY": "this"})
    assert done.stdout == b"ONLY=this\n"


async def test_a_command_that_does_not_end_is_killed_with_its_offspring():
    with pytest.raises(Unavailable, match="did not end within"):
        await run(["sh", "-c", "sleep 60 & echo $!; wait"], timeout_s=0.2)


async def test_offspring_that_keeps_the_output_open_keeps_nobody_waiting():
    done = await run(["sh", "-c", "sleep 60 & echo done"], timeout_s=10)
    assert done.stdout == b"done\n"


async def test_a_missing_program_is_named():
    with pytest.raises(NotFound, match="no-such-program"):
        await run(["no-such-program"])


async def test_a_process_is_waited_for_twice_and_killed_once():
    process = await spawn(Command(argv=("sleep", "60"), stdout=PIPE))
    assert process.returncode is None
    process.kill()
    assert await process.wait() == -signal.SIGKILL
    assert await process.wait() == -signal.SIGKILL
    process.kill()
    process.close()


async def test_close_ends_what_still_runs_and_leaves_no_descriptor():
    before = set(os.listdir("/proc/self/fd"))
    process = await spawn(Command(argv=("sleep", "60"), stdin=PIPE, stdout=PIPE))
    process.close()
    assert process.returncode == -signal.SIGKILL
    assert set(os.listdir("/proc/self/fd")) == before


async def test_a_terminal_becomes_the_controlling_one():
    master, slave = os.openpty()
    process = await spawn(
        Command(argv=("sh", "-c", "echo on $(tty)"), stdin=slave, stdout=slave, stderr=slave, terminal=True)
    )
    os.close(slave)
    assert await process.wait() == 0
    assert b"on /dev/" in os.read(master, 100)
    process.close()
    os.close(master)

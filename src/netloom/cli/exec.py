"""``netloom exec POD -- CMD``: a program inside a pod's namespaces, with its exit code."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator

from netloom.cli.session import add_target, client_of
from netloom.errors import UsageError
from netloom.kube.remote import Streams, run_in_pod
from netloom.units import ObjectKey

_CHUNK = 32 * 1024


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("pod", metavar="POD", help="name or namespace/name")
    parser.add_argument("command", metavar="CMD", nargs="+", help="the program and its arguments, after --")
    parser.add_argument(
        "-n", "--namespace", default="default", help="namespace of the pod (default: %(default)s)"
    )
    parser.add_argument("-c", "--container", default="", help="which container (default: the first)")
    parser.add_argument("-i", "--stdin", action="store_true", help="pass standard input on")
    parser.add_argument("-t", "--tty", action="store_true", help="give it a terminal")
    add_target(parser)
    parser.epilog = "for example:  netloom exec shop/web-5d9c-x7k2p -- curl -s http://cart"


def run(options: argparse.Namespace) -> int:
    """Run it."""
    namespace, _, name = options.pod.rpartition("/")
    pod = ObjectKey(namespace or options.namespace, name)
    if options.tty and not sys.stdin.isatty():
        raise UsageError("--tty: standard input is no terminal", "leave --tty away")
    with _raw_terminal() if options.tty else contextlib.nullcontext():
        return asyncio.run(_run(options, pod))


async def _run(options: argparse.Namespace, pod: ObjectKey) -> int:
    streams = Streams(
        output=_writer(sys.stdout.fileno()),
        error=_writer(sys.stderr.fileno()),
        input=_input() if options.stdin or options.tty else None,
        size=_sizes() if options.tty else None,
    )
    async with client_of(options) as client:
        return await run_in_pod(
            client, pod, options.command, streams, container=options.container, tty=options.tty
        )


class _writer:  # noqa: N801 - used as a function
    """Writes all of what it is given to a descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __call__(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


async def _input() -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while data := await reader.read(_CHUNK):
        yield data


async def _sizes() -> AsyncIterator[tuple[int, int]]:
    changed = asyncio.Event()
    changed.set()
    asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, changed.set)
    while True:
        await changed.wait()
        changed.clear()
        size = shutil.get_terminal_size()
        yield size.columns, size.lines


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)

"""The only process of a local cluster that lives in the host's namespaces; when it ends, however it ends, all ends.

It opens the API server's socket on 127.0.0.1 and holds the cluster's lock, then makes the namespaces (user where it is
not root, mount, net, pid, uts, ipc) around a child that becomes process 1 of the cluster (`init.py`), and from then on
only relays DNS and waits. Each process below asks the kernel to be killed with its parent, and process 1 takes the
whole pid namespace with it: no link, rule, mount or process of the host has been touched, so nothing has to be undone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import os
import signal
import socket
from collections.abc import Callable

import msgspec

from netloom.clock import Clock, rfc3339
from netloom.errors import KernelError, NetloomError, StorageError, UsageError
from netloom.linux import libc, namespaces
from netloom.linux.mounts import make_private, mount
from netloom.local.control_plane import Listeners, take_up
from netloom.local.credentials import API_HOST, pki
from netloom.local.fabric_needs import check_fabric
from netloom.local.failures.cables import Cables
from netloom.local.failures.power import Power
from netloom.local.init import Init, log_to
from netloom.local.listeners import BACKLOG, bind_underlay, hand_over, unix_listener
from netloom.local.lock import Lock
from netloom.local.outside.listeners import opened
from netloom.local.outside.main import Opened
from netloom.local.paths import ClusterPaths
from netloom.local.relay import DnsRelay, Upstream, host_resolvers
from netloom.local.roles import OutsideRoom, children_of, machine_of
from netloom.local.settings import ClusterSettings, parse_upstream
from netloom.local.underlay import lay, lay_outside
from netloom.units import Family

log = logging.getLogger(__name__)


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line that the supervisor tells the command that started it."""

    stage: str
    """``listening``, ``namespaces``, ``network``, ``started`` or ``failed``."""
    detail: str = ""
    hint: str = ""
    exit_code: int = 0


Tell = Callable[[Told], None]


def supervise(*, paths: ClusterPaths, settings: ClusterSettings, clock: Clock, tell: Tell) -> int:
    """Run the cluster until SIGTERM, SIGINT or the end of its process 1; the lock is held by the caller.

    Returns:
        The exit code.
    """
    try:
        with opened(settings.publications) as published:
            api = _listen(settings.api_port)
            port = api.getsockname()[1]
            pki(paths, settings, port=port, now=clock.wall())
            paths.pid.write_text(str(os.getpid()))
            tell(Told("listening", f"{API_HOST}:{port}"))
            ours, theirs = socket.socketpair()
            lifeline = os.pipe()
            supervisor = os.getpid()
            middle = os.fork()
            if middle == 0:
                ours.close()
                os.close(lifeline[1])
                inside = _Inside(
                    paths=paths,
                    settings=settings,
                    clock=clock,
                    tell=tell,
                    api=api,
                    published=published,
                    relay=theirs,
                    lifeline=lifeline[0],
                )
                _middle(supervisor, inside)
            theirs.close()
            api.close()
            os.close(lifeline[0])
    except NetloomError as error:
        tell(Told("failed", error.problem, error.hint, error.exit_code))
        return error.exit_code
    except OSError as error:
        tell(Told("failed", f"{paths.root}: {error.strerror}", exit_code=StorageError.exit_code))
        return StorageError.exit_code
    asyncio.run(_wait(middle, ours, settings))
    _, status = os.waitpid(middle, 0)
    return os.waitstatus_to_exitcode(status)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((API_HOST, port))
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise UsageError(
                f"--api-port {port}: {os.strerror(error.errno)} on {API_HOST}",
                "choose another port, or 0 for any free one",
            ) from error
        raise
    listener.listen(BACKLOG)
    return listener


class _Inside(msgspec.Struct, frozen=True, kw_only=True):
    """What process 1 is given."""

    paths: ClusterPaths
    settings: ClusterSettings
    clock: Clock
    tell: Tell
    api: socket.socket
    published: Opened
    """What leads from the host to Services."""
    relay: socket.socket
    """Takes the DNS sockets to the supervisor."""
    lifeline: int
    """A pipe that closes when the supervisor ends."""


def _middle(parent: int, inside: _Inside) -> None:
    """Make the namespaces, fork process 1 into them, wait for it; never returns."""
    code = 1
    try:
        if os.geteuid() != 0:
            namespaces.become_root_of_a_user_namespace()
        # asked for only now: the kernel forgets the wish when credentials change (prctl(2))
        libc.die_with_parent(parent)
        try:
            libc.unshare(
                libc.CLONE_NEWNS
                | libc.CLONE_NEWNET
                | libc.CLONE_NEWPID
                | libc.CLONE_NEWUTS
                | libc.CLONE_NEWIPC
            )
        except KernelError as error:
            raise namespaces.forbidden(error) from error
        inside.tell(Told("namespaces"))
        first = os.fork()
        if first == 0:
            _first(inside)
        signal.signal(signal.SIGTERM, lambda *_: _terminate(first))
        _, status = os.waitpid(first, 0)
        code = os.waitstatus_to_exitcode(status)
    except NetloomError as error:
        inside.tell(Told("failed", error.problem, error.hint, error.exit_code))
        code = error.exit_code
    finally:
        os._exit(code)


def _first(inside: _Inside) -> None:
    """Process 1: lays the cables, starts everything, keeps it running; never returns."""
    code, tell, paths = 1, inside.tell, inside.paths
    try:
        libc.die_with_parent(0)  # the parent is outside of this pid namespace
        os.set_blocking(inside.lifeline, False)
        with contextlib.suppress(BlockingIOError):
            os.read(inside.lifeline, 1)
            os._exit(1)  # the supervisor had gone before the wish was registered
        libc.set_process_name("nl-init")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.umask(0o077)
        make_private("/")
        mount("proc", "/proc", "proc")
        check_fabric(inside.settings.fabric)
        take_up(paths, inside.clock)
        settings, parts = inside.settings, paths.part_sockets.values()
        rooms, outside = lay(settings), lay_outside(settings)
        tell(Told("network"))
        underlay = bind_underlay(settings)
        hand_over(inside.relay, underlay.dns)
        build = functools.partial(machine_of, paths, settings)
        machines = tuple(map(build, rooms))
        children = children_of(
            paths=paths,
            settings=settings,
            machines=machines,
            listeners=Listeners(
                inside.api, underlay.api, unix_listener(paths.api_socket), [*map(unix_listener, parts)]
            ),
            clock=inside.clock,
            outside=OutsideRoom(outside, inside.published),
        )
        power = Power(
            paths=paths,
            nodes=settings.node_names,
            machines=machines,
            cables=Cables(settings),
            build=build,
            clock=inside.clock,
        )
        init = Init(children=children, log_directory=paths.log, clock=inside.clock, office=power)
        tell(Told("started"))
        init.run()
        code = 0
    except NetloomError as error:
        tell(Told("failed", error.problem, error.hint, error.exit_code))
        code = error.exit_code
    except Exception as error:
        log.exception("process 1 ended by an error")
        tell(
            Told(
                "failed", f"{type(error).__name__}: {error}", f"the log is {paths.log / 'supervisor.log'}", 1
            )
        )
    finally:
        logging.shutdown()
        os._exit(code)


async def _wait(middle: int, channel: socket.socket, settings: ClusterSettings) -> None:
    """Relay DNS until the cluster ends; SIGTERM and SIGINT are passed on to its process 1."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    pidfd = os.pidfd_open(middle)
    loop.add_reader(pidfd, ended.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _terminate, middle)
    async with asyncio.TaskGroup() as group:
        relay = group.create_task(_relay(channel, settings), name="dns-relay")
        await ended.wait()
        relay.cancel()


def _terminate(pid: int) -> None:
    """Ask a process to end; it may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


async def _relay(channel: socket.socket, settings: ClusterSettings) -> None:
    loop = asyncio.get_running_loop()
    received = await loop.run_in_executor(None, socket.recv_fds, channel, 16, 2 * len(Family))
    channel.close()
    sockets = [socket.socket(fileno=fd) for fd in received[1]]
    try:
        async with asyncio.TaskGroup() as group:
            for udp, tcp in zip(sockets[::2], sockets[1::2], strict=True):
                relay = DnsRelay(udp=udp, tcp=tcp, upstreams=lambda: upstreams(settings))
                group.create_task(relay.run(), name="dns-relay")
    except* OSError:  # names outside the cluster stop resolving; that must not end the cluster
        log.exception("the DNS relay ended")


def upstreams(settings: ClusterSettings) -> tuple[Upstream, ...]:
    """Resolvers for names outside the cluster: those given, else the host's of this moment."""
    return tuple(parse_upstream(u) for u in settings.dns_upstreams) or host_resolvers()


def daemonize(paths: ClusterPaths, settings: ClusterSettings, clock: Clock, lock: Lock) -> int:
    """Start the supervisor as a process that outlives the command.

    Args:
        paths: files of the cluster.
        settings: what to run.
        clock: the time.
        lock: taken; the supervisor keeps it, the caller's copy is released.

    Returns:
        Descriptor from which the `Told` lines can be read, until the supervisor has nothing more to tell.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        os.waitpid(child, 0)
        lock.release()
        return reading
    code = 1
    try:
        os.close(reading)
        os.setsid()
        if os.fork():
            os._exit(0)
        _detach(paths)
        libc.set_process_name("netloom")
        log.info("supervisor of %s starts at %s", settings.name, rfc3339(clock.wall()))

        def tell(told: Told) -> None:
            try:
                os.write(writing, msgspec.json.encode(told) + b"\n")
            except BrokenPipeError:
                if (
                    told.stage == "listening"
                ):  # whoever wanted a cluster has left; later on it knows whom to end
                    raise

        code = supervise(paths=paths, settings=settings, clock=clock, tell=tell)
    except BaseException:  # the last line of a process: whatever it was must be in the log
        log.exception("the supervisor ended by an error")
    finally:
        logging.shutdown()
        os._exit(code)


def _detach(paths: ClusterPaths) -> None:
    """Let go of the terminal and of whatever else the caller's caller left open: no input, and output into the log."""
    for number in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # that of the directory itself
            if number > 2 and os.get_inheritable(number):  # ours are not: a lock of a shell would be held on
                os.close(number)
    paths.log.mkdir(mode=0o700, exist_ok=True)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    output = os.open(paths.log / "output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in ((0, null), (1, output), (2, output)):
        os.dup2(source, target)
    os.chdir("/")
    log_to(paths.log / "supervisor.log")

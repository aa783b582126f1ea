"""Answers pre-stop hooks: `GET /drained/NAMESPACE/SERVICE` from the node itself, `GET /drained` from a pod. In: requests; out: answers.

200 when no node sends new connections to the ending pods any more, 504 where that takes longer than `?timeout=` (25 s), 4xx for
questions that have no answer, 503 where the API server gives none. A kubelet takes any answer for the end of a hook, so what was
not drained is also logged and counted. Made for an open port: one request a connection; heads, connections and times are bounded,
and who hangs up is waited for no longer. Not here: what drained means.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator
from http import HTTPStatus
from urllib.parse import parse_qs, unquote

import msgspec

from netloom.agent.drained_wait import DrainWaiter, Question
from netloom.clock import Clock
from netloom.errors import InvalidObject, NetloomError, NotFound
from netloom.metrics import Histogram, Sample, counter, gauge
from netloom.units import Addr, ObjectKey, parse_addr

log = logging.getLogger(__name__)

TIMEOUT_S = 25.0
"""Less than the 30 s that a pod gets to end where it does not say otherwise: some remain for its SIGTERM."""
LONGEST_S = 3600.0
WAITING_LIMIT = 256
"""Of this node's own hooks at the same time; a node has some 110 pods."""
POD_LIMIT = 4
"""Of one pod at the same time."""
_HEAD_LIMIT = 8192
_HEAD_S = 5.0
_WRITE_S = 5.0
_REOPEN_S = 10.0
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(ms|s|m|)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Body of an answer."""

    drained: bool
    waited_s: float
    services: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()
    reason: str = ""
    lacking: tuple[str, ...] = ()
    """Which nodes lack what."""


class _Refused(NetloomError):
    """A question that gets no answer."""

    def __init__(self, status: HTTPStatus, problem: str, hint: str = "") -> None:
        self.status = status
        super().__init__(problem, hint)


class _Asked(msgspec.Struct, frozen=True):
    """A question as it was asked."""

    service: ObjectKey | None
    """None: the pod that asks, by its address."""
    timeout_s: float


class _Door:
    """One address to ask at, and who asks there."""

    def __init__(self, address: Addr, *, for_pods: bool) -> None:
        self.address = address
        self.for_pods = for_pods
        self.asking: Counter[str] = Counter()

    @contextlib.contextmanager
    def place(self, peer: str) -> Iterator[bool]:
        """Room for one more; False where there is none."""
        most = POD_LIMIT if self.for_pods else WAITING_LIMIT
        if self.asking[peer] >= most or self.asking.total() >= WAITING_LIMIT:
            yield False
            return
        self.asking[peer] += 1
        try:
            yield True
        finally:
            self.asking[peer] -= 1
            if not self.asking[peer]:
                del self.asking[peer]


class DrainedServer:
    """The server of pre-stop hooks.

    Args:
        waiter: knows the answers.
        node_addresses: where this node's own hooks are answered; they name the Service.
        pod_addresses: where pods of this node are answered; they are known by their addresses.
        port: at all of them; 0: nowhere.
        clock: the time.
    """

    def __init__(
        self,
        *,
        waiter: DrainWaiter,
        node_addresses: Iterable[Addr],
        pod_addresses: Iterable[Addr],
        port: int,
        clock: Clock,
    ) -> None:
        self._waiter = waiter
        self._doors = [_Door(a, for_pods=False) for a in node_addresses]
        self._doors += [_Door(a, for_pods=True) for a in pod_addresses]
        self._port = port
        self._clock = clock
        self._answers: Counter[int] = Counter()
        self._waited_s = Histogram()
        self.open = asyncio.Event()
        """All doors are open."""
        self._open_doors = 0

    async def run(self) -> None:
        """Answer until cancelled. A port that is taken is tried again; nothing else suffers from it."""
        if not self._port:
            return
        async with asyncio.TaskGroup() as tasks:
            for door in self._doors:
                tasks.create_task(self._listen(tasks, door), name=f"drained {door.address}")

    def samples(self) -> Iterable[Sample]:
        """What is to be seen from outside."""
        waiting = sum(door.asking.total() for door in self._doors)
        yield gauge("netloom_drained_waiting", "Pre-stop hooks that wait.", waiting)
        yield self._waited_s.sample("netloom_drained_seconds", "How long pre-stop hooks waited.")
        for status, count in sorted(self._answers.items()):
            text = "Answers to pre-stop hooks by HTTP status; 200 means drained."
            yield counter("netloom_drained_answers_total", text, count, code=str(status))

    async def _listen(self, tasks: asyncio.TaskGroup, door: _Door) -> None:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.create_task(self._serve(door, reader, writer), name="pre-stop hook")

        told = False
        while True:
            try:
                server = await asyncio.start_server(
                    connected, str(door.address), self._port, limit=_HEAD_LIMIT
                )
                break
            except OSError as error:
                level = logging.DEBUG if told else logging.ERROR
                log.log(level, "no pre-stop hooks at %s, port %d: %s", door.address, self._port, error)
                told = True
                await asyncio.sleep(_REOPEN_S)
        self._open_doors += 1
        if self._open_doors == len(self._doors):
            self.open.set()
        async with server:
            await server.serve_forever()

    async def _serve(self, door: _Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: a request, its answer, the end."""
        peer = str(writer.get_extra_info("peername", ("",))[0])
        try:
            with door.place(peer) as admitted:
                if admitted:
                    await self._exchange(door, peer, reader, writer)
                else:
                    log.warning("pre-stop hook of %s: turned away, too many wait already", peer)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            log.debug("pre-stop hook of %s: it has gone", peer)
        finally:
            writer.transport.abort()

    async def _exchange(
        self, door: _Door, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async with asyncio.timeout(_HEAD_S):
            head = await reader.readuntil(b"\r\n\r\n")
        began = self._clock.monotonic()
        status, answer = await self._answer(door, head, peer, reader)
        self._answers[status] += 1
        self._waited_s.observe(self._clock.monotonic() - began)
        if status is not HTTPStatus.OK:
            log.warning("pre-stop hook of %s: %s", peer, "; ".join((answer.reason, *answer.lacking)))
        elif answer.pods:
            what, of = ", ".join(answer.pods), ", ".join(answer.services)
            log.info("drained of new connections after %.3f s: %s of %s", answer.waited_s, what, of)
        async with asyncio.timeout(_WRITE_S):
            writer.write(_response(status, answer))
            await writer.drain()
            writer.write_eof()
            # what the client still sends would turn our end into a reset, and the answer may be lost with it
            await reader.read()

    async def _answer(
        self, door: _Door, head: bytes, peer: str, reader: asyncio.StreamReader
    ) -> tuple[HTTPStatus, Answer]:
        """The answer to one request.

        Raises:
            EOFError: the client has hung up.
        """
        began = self._clock.monotonic()
        question = Question()
        status, reason = HTTPStatus.OK, ""
        try:
            asked = _read(head, for_pods=door.for_pods)
            async with asyncio.timeout(asked.timeout_s):
                await _unless_gone(self._ask(asked, peer, question), reader)
        except TimeoutError:
            status = HTTPStatus.GATEWAY_TIMEOUT
            reason = question.reason or "not every node has it in force yet"
        except _Refused as error:
            status, reason = error.status, str(error)
        except NotFound as error:
            status, reason = HTTPStatus.NOT_FOUND, str(error)
        except InvalidObject as error:
            status, reason = HTTPStatus.UNPROCESSABLE_ENTITY, str(error)
        except NetloomError as error:
            status, reason = HTTPStatus.SERVICE_UNAVAILABLE, str(error)
        if not reason and not question.pods:
            reason = (
                "no pod of this Service on this node is ending"
                if not door.for_pods
                else "this pod is not ending"
            )
        return status, Answer(
            drained=status is HTTPStatus.OK,
            waited_s=round(self._clock.monotonic() - began, 6),
            services=tuple(map(str, question.services)),
            pods=tuple(pod.name for pod in question.pods),
            reason=reason,
            lacking=tuple(map(str, self._waiter.lacking(question))),
        )

    async def _ask(self, asked: _Asked, peer: str, question: Question) -> None:
        if asked.service is not None:
            await self._waiter.service(asked.service, question)
            return
        address = parse_addr(peer)
        if address is None:
            raise _Refused(HTTPStatus.FORBIDDEN, f"{peer} is no address of a pod")
        await self._waiter.pod(address, question)


async def _unless_gone(work: Coroutine[None, None, None], reader: asyncio.StreamReader) -> None:
    """Do it, unless the client hangs up.

    Raises:
        EOFError: it did.
        NetloomError: what the work raised.
    """
    failed: NetloomError | None = None

    async def guarded() -> None:
        nonlocal failed
        try:
            await work
        except NetloomError as error:
            failed = error

    async with asyncio.TaskGroup() as tasks:
        doing = tasks.create_task(guarded(), name="drain")
        listening = tasks.create_task(_until_gone(reader), name="hang-up")
        await asyncio.wait((doing, listening), return_when=asyncio.FIRST_COMPLETED)
        done = doing.done()
        doing.cancel()
        listening.cancel()
    if failed is not None:
        raise failed
    if not done:
        raise EOFError("the client has hung up")


async def _until_gone(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(_HEAD_LIMIT):
            pass


def _read(head: bytes, *, for_pods: bool) -> _Asked:
    """What is asked by a request.

    Raises:
        _Refused: nothing that has an answer here.
    """
    words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise _Refused(HTTPStatus.BAD_REQUEST, "not HTTP/1.1")
    if words[0] != "GET":
        raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{words[0]}: there is GET only")
    path, _, query = words[1].partition("?")
    match [unquote(part) for part in path.strip("/").split("/")]:
        case ["drained"] if for_pods:
            service = None
        case ["drained", namespace, name] if namespace and name and not for_pods:
            service = ObjectKey(namespace, name)
        case _:
            there = "/drained" if for_pods else "/drained/NAMESPACE/SERVICE"
            raise _Refused(HTTPStatus.NOT_FOUND, f"{path}: there is {there} here")
    texts = parse_qs(query, keep_blank_values=True).get("timeout", [f"{TIMEOUT_S:g}s"])
    match_ = _DURATION.fullmatch(texts[-1])
    if match_ is None:
        raise _Refused(HTTPStatus.BAD_REQUEST, f"timeout={texts[-1]!r}: is no duration", "write 25s or 500ms")
    return _Asked(service, min(float(match_[1]) * _UNITS[match_[2]], LONGEST_S))


def _response(status: HTTPStatus, answer: Answer) -> bytes:
    body = msgspec.json.encode(answer) + b"\n"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"X-Content-Type-Options: nosniff\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body

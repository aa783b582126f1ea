"""One run of a probe: http, tcp, exec or gRPC (core/v1 ProbeHandler). In: the action and the pod's address; out: an Outcome.

They go from the node to the pod, as a kubelet's do; exec runs inside the container. Two allowances for stand-ins: a program that
the host does not have counts as success (the image would have had it), and HTTPS and gRPC are only connected to (a stand-in has
no certificate and no service).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable

from netloom.errors import NetloomError, NotFound
from netloom.linux import process
from netloom.local.runner.grpc import grpc_check
from netloom.local.runner.probes import Check, Outcome
from netloom.local.runner.spec import Container, Grpc, HttpGet, Probe, port_number

HEAD_LIMIT = 16 << 10
"""Bytes that the head of an answer may have."""
RunInPod = Callable[[tuple[str, ...], float], Awaitable[process.Completed]]
"""Runs a command in the pod's namespaces within so many seconds."""


def check_of(
    probe: Probe, container: Container, address: str, run: RunInPod, *, is_standin: bool = True
) -> Check | None:
    """How to run a probe; None where it has no action or its port's name is not declared."""
    if probe.exec is not None:
        command = probe.exec.command
        return lambda: exec_check(command, run, probe.timeout_seconds, is_standin=is_standin)
    action = probe.http_get or probe.tcp_socket or probe.grpc
    if action is None:
        return None
    port = port_number(action.port, container)
    if port is None:
        return None
    host = getattr(action, "host", "") or address
    if isinstance(action, HttpGet) and (action.scheme.upper() == "HTTP" or not is_standin):
        get = action
        return lambda: http_check(get, host, port)
    if isinstance(action, Grpc) and not is_standin:
        service = action.service or ""
        return lambda: grpc_check(host, port, service)
    return lambda: tcp_check(host, port)


async def tcp_check(host: str, port: int) -> Outcome:
    """Success where a connection is accepted."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Outcome(False, f"dial tcp {place_text(host, port)}: {error.strerror or error}")
    await _close(writer)
    return Outcome(True)


async def http_check(get: HttpGet, host: str, port: int) -> Outcome:
    """Success where a GET is answered with a status of 200 to 399; of HTTPS no certificate is checked, as with a kubelet."""
    place = place_text(host, port)
    tls = unverified() if get.scheme.upper() == "HTTPS" else None
    try:
        reader, writer = await asyncio.open_connection(host, port, limit=HEAD_LIMIT, ssl=tls)
    except OSError as error:
        return Outcome(False, f"dial tcp {place}: {error.strerror or error}")
    try:
        writer.write(request_head(get, host, port))
        line = await reader.readline()
    except (OSError, ValueError) as error:
        return Outcome(False, f"GET {get.scheme.lower()}://{place}{get.path}: {error}")
    finally:
        await _close(writer, is_tls=tls is not None)
    words = line.split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return Outcome(False, f"GET {get.scheme.lower()}://{place}{get.path}: no HTTP answer")
    code = int(words[1])
    return Outcome(200 <= code < 400, f"HTTP probe failed with statuscode: {code}")


NO_SUCH_PROGRAM = 127
"""What a shell ends with where a program that its line names is not there (POSIX, Shell Command Language, 2.8.2)."""


async def exec_check(
    command: tuple[str, ...], run: RunInPod, timeout_s: float, *, is_standin: bool = True
) -> Outcome:
    """Success where the command exits with 0, or where a stand-in's host has no such program."""
    try:
        done = await run(command, timeout_s)
    except NotFound as error:
        if not is_standin:
            return Outcome(False, error.problem)
        return Outcome(True, f"{command[0]} is not on this host; counted as success")
    except NetloomError as error:
        return Outcome(False, str(error))
    if done.returncode == 0:
        return Outcome(True)
    if is_standin and done.returncode == NO_SUCH_PROGRAM:
        return Outcome(True, f"{command[0]} found no such program on this host; counted as success")
    said = (done.stdout + done.stderr)[:200].decode("utf-8", "replace").strip()
    return Outcome(False, said or f"exit code {done.returncode}")


def request_head(get: HttpGet, host: str, port: int, *, agent: str = "kube-probe/netloom") -> bytes:
    """The whole GET that a probe or hook sends."""
    headers = {
        "host": place_text(host, port),
        "user-agent": agent,
        "accept": "*/*",
        "connection": "close",
    }
    headers |= {h.name.lower(): h.value for h in get.http_headers}
    path = get.path if get.path.startswith("/") else f"/{get.path}"
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def place_text(host: str, port: int) -> str:
    """As URLs write it (RFC 3986 section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unverified() -> ssl.SSLContext:
    """For servers of which only the address is known, so that no certificate can be checked; a kubelet does the same."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _close(writer: asyncio.StreamWriter, *, is_tls: bool = False) -> None:
    if is_tls:
        writer.transport.abort()  # all is known, and the polite end of TLS may take half a minute
        return
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()

"""One question of the gRPC health protocol (grpc.health.v1 Health.Check), as gRPC probes ask it. In: a place; out: an Outcome.

HTTP/2 (RFC 9113) as far as one call needs it: what the answer says is in its message, so the header fields of answers are not
read, and nothing has to be unpacked. Not here: TLS, which gRPC probes do not have.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct

from netloom.local.runner.probes import Outcome

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 1, 1, 4, 8
_LARGEST = 16384
"""Bytes of a frame that we allow: the least that HTTP/2 lets us (SETTINGS_MAX_FRAME_SIZE)."""
_STATES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_SERVING = 1


class _NoAnswer(Exception):
    """The server says something else, or nothing."""


async def grpc_check(host: str, port: int, service: str) -> Outcome:
    """Success where the server says that the service (empty: all of it) is serving."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Outcome(False, f'failed to connect service "{place}": {error.strerror or error}')
    try:
        writer.write(_PREFACE + _frame(_SETTINGS, b"") + _request(place, service))
        state = await _state(reader, writer)
    except (OSError, EOFError, _NoAnswer) as error:
        said = str(error) or "the connection ended"
        return Outcome(False, f"this server does not implement the grpc health protocol: {said}")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if state == _SERVING:
        return Outcome(True)
    return Outcome(False, f'service unhealthy (responded with "{_STATES.get(state, str(state))}")')


async def _state(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """The answer's ``status``: the first message of our one stream."""
    said = b""
    while True:
        head = await reader.readexactly(9)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        if length > _LARGEST:
            raise _NoAnswer("it speaks no HTTP/2")
        body = await reader.readexactly(length)
        if kind in {_SETTINGS, _PING} and not flags & _ACK:
            writer.write(_frame(kind, body if kind == _PING else b"", _ACK))
        elif kind in {_RST_STREAM, _GOAWAY}:
            raise _NoAnswer("it refused the call")
        elif kind == _DATA:
            if flags & _PADDED and body:
                body = body[1 : len(body) - body[0]]
            said += body
            if len(said) >= 5 and len(said) >= 5 + struct.unpack(">I", said[1:5])[0]:
                return _status_of(said)
        if kind in {_DATA, _HEADERS} and flags & _END_STREAM:
            raise _NoAnswer("it answered with an error")


def _status_of(message: bytes) -> int:
    """HealthCheckResponse: field 1, a number; absent it is 0."""
    body = message[5 : 5 + struct.unpack(">I", message[1:5])[0]]
    if message[0]:
        raise _NoAnswer("its answer is compressed")
    return body[1] if len(body) >= 2 and body[0] == 0x08 else 0


def _request(place: str, service: str) -> bytes:
    """HEADERS and DATA of stream 1: POST, the method's path, HealthCheckRequest with the service's name."""
    fields = (
        b"\x83\x86"
        + b"".join(  # :method POST, :scheme http: entries of the static table (RFC 7541, appendix A)
            (
                _named(4, "/grpc.health.v1.Health/Check"),  # :path
                _named(1, place),  # :authority
                _named(31, "application/grpc"),  # content-type
                _named(58, "kube-probe/netloom"),  # user-agent
                b"\x00" + _text("te") + _text("trailers"),
            )
        )
    )
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    data = b"\x00" + struct.pack(">I", len(message)) + message
    return _frame(_HEADERS, fields, _END_HEADERS, 1) + _frame(_DATA, data, _END_STREAM, 1)


def _named(index: int, value: str) -> bytes:
    """A field whose name is in the static table, not to be remembered (RFC 7541 section 6.2.2)."""
    head = bytes([index]) if index < 15 else bytes([15, index - 15])
    return head + _text(value)


def _text(value: str) -> bytes:
    """A text as it is, with its length in front: a prefix of 7 bits (RFC 7541 section 5.2)."""
    data = value.encode()
    head = bytes([len(data)]) if len(data) < 127 else b"\x7f" + _varint(len(data) - 127)
    return head + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _frame(kind: int, body: bytes, flags: int = 0, stream: int = 0) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body

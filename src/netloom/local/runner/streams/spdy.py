"""SPDY/3.1 frames: bytes to frames and back. Pure, no sockets.

In: bytes in pieces of any size, or frames. Out: frames, or bytes. Only what a kubelet's streams need: no server push, no
credentials. The rules are those of the SPDY protocol, draft 3.1, sections 2.2 (framing), 2.6 (control frames) and 2.6.10
(name/value block); what a stream is for lies in ``spdy_session``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping

import msgspec

from netloom.errors import NetloomError

VERSION = 3
MAX_FRAME = 1 << 20
"""Largest payload that is taken from a peer, in bytes; the format allows 16 MiB."""
MAX_HEADERS = 64 << 10
"""Largest name/value block after inflating, in bytes: a small frame cannot fill the memory."""

FIN = 0x01
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS = 1, 2, 3, 4
_PING, _GOAWAY, _HEADERS, _WINDOW_UPDATE = 6, 7, 8, 9
_CONTROL = 0x8000
_ID = 0x7FFF_FFFF

# The dictionary of section 2.6.10.1, put together from its parts: words that are preceded by their length, then text.
_WORDS = (
    "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|accept-ranges|age|allow|"
    "authorization|cache-control|connection|content-base|content-encoding|content-language|content-length|"
    "content-location|content-md5|content-range|content-type|date|etag|expect|expires|from|host|if-match|"
    "if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|location|max-forwards|pragma|"
    "proxy-authenticate|proxy-authorization|range|referer|retry-after|server|te|trailer|transfer-encoding|"
    "upgrade|user-agent|vary|via|warning|www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|public|"
    "set-cookie|keep-alive|origin"
)
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal "
    "Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, "
    "Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,"
    "text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(w)) + w.encode() for w in _WORDS.split("|")) + _TEXT.encode()


class SpdyError(NetloomError):
    """The peer broke the protocol; the connection cannot go on."""


class SynStream(msgspec.Struct, frozen=True):
    """A new stream (2.6.1). Names are lower case."""

    stream: int
    headers: Mapping[str, str]
    fin: bool = False
    priority: int = 0
    unidirectional: bool = False


class SynReply(msgspec.Struct, frozen=True):
    """A stream is accepted (2.6.2)."""

    stream: int
    headers: Mapping[str, str] = {}
    fin: bool = False


class RstStream(msgspec.Struct, frozen=True):
    """A stream ends at once (2.6.3)."""

    stream: int
    status: int


class Setting(msgspec.Struct, frozen=True):
    """One entry of a SETTINGS frame."""

    id: int
    value: int
    flags: int = 0


class Settings(msgspec.Struct, frozen=True):
    """Settings of the connection (2.6.4)."""

    entries: tuple[Setting, ...] = ()


class Ping(msgspec.Struct, frozen=True):
    """A ping, or the answer to ours (2.6.5): odd ids are the client's."""

    id: int


class GoAway(msgspec.Struct, frozen=True):
    """No new streams from now on (2.6.6)."""

    last_stream: int = 0
    status: int = 0


class Headers(msgspec.Struct, frozen=True):
    """Further headers of a stream (2.6.7)."""

    stream: int
    headers: Mapping[str, str]
    fin: bool = False


class WindowUpdate(msgspec.Struct, frozen=True):
    """Room for more data (2.6.8)."""

    stream: int
    delta: int


class Data(msgspec.Struct, frozen=True):
    """Payload of a stream (2.2.2)."""

    stream: int
    payload: bytes = b""
    fin: bool = False


Frame = SynStream | SynReply | RstStream | Settings | Ping | GoAway | Headers | WindowUpdate | Data


class Encoder:
    """Frames to bytes. Headers share one compression for the life of the connection, so the order of calls is that of sending."""

    def __init__(self) -> None:
        # Level 1 and a small window: headers here are few and short, and each connection pays for the state.
        self._deflate = zlib.compressobj(1, zlib.DEFLATED, 11, 4, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)

    def encode(self, frame: Frame) -> bytes:  # noqa: PLR0911 - one return a kind of frame
        """The frame as it is sent.

        Raises:
            SpdyError: the payload is larger than a frame can hold (16 MiB).
        """
        match frame:
            case Data():
                return _data(frame)
            case SynStream():
                flags = (FIN if frame.fin else 0) | (2 if frame.unidirectional else 0)
                head = struct.pack(">IIBB", frame.stream & _ID, 0, (frame.priority & 7) << 5, 0)
                return _control(_SYN_STREAM, flags, head + self._block(frame.headers))
            case SynReply():
                return self._with_headers(_SYN_REPLY, frame.stream, frame.headers, frame.fin)
            case Headers():
                return self._with_headers(_HEADERS, frame.stream, frame.headers, frame.fin)
            case RstStream():
                return _control(_RST_STREAM, 0, struct.pack(">II", frame.stream & _ID, frame.status))
            case Ping():
                return _control(_PING, 0, struct.pack(">I", frame.id))
            case GoAway():
                return _control(_GOAWAY, 0, struct.pack(">II", frame.last_stream & _ID, frame.status))
            case WindowUpdate():
                return _control(_WINDOW_UPDATE, 0, struct.pack(">II", frame.stream & _ID, frame.delta & _ID))
            case Settings():
                entries = (struct.pack(">II", (e.flags << 24) | e.id, e.value) for e in frame.entries)
                return _control(_SETTINGS, 0, struct.pack(">I", len(frame.entries)) + b"".join(entries))

    def _with_headers(self, kind: int, stream: int, headers: Mapping[str, str], fin: bool) -> bytes:
        return _control(kind, FIN if fin else 0, struct.pack(">I", stream & _ID) + self._block(headers))

    def _block(self, headers: Mapping[str, str]) -> bytes:
        parts = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                parts += [struct.pack(">I", len(text)), text]
        return self._deflate.compress(b"".join(parts)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


class Decoder:
    """Bytes to frames. What is left over from one call waits for the next."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now. Unknown control frames are left out (section 2.2.1).

        Raises:
            SpdyError: what came is not SPDY/3, or beyond the limits.
        """
        self._rest += data
        while len(self._rest) >= 8:
            length = int.from_bytes(self._rest[5:8], "big")
            if length > MAX_FRAME:
                raise SpdyError(f"SPDY frame of {length} bytes: larger than {MAX_FRAME}")
            if len(self._rest) < 8 + length:
                return
            head, payload = bytes(self._rest[:8]), bytes(self._rest[8 : 8 + length])
            del self._rest[: 8 + length]
            frame = self._frame(head, payload)
            if frame is not None:
                yield frame

    def _frame(self, head: bytes, payload: bytes) -> Frame | None:
        first, flags = struct.unpack(">IB", head[:5])
        if not first >> 31:
            return Data(first, payload, bool(flags & FIN))
        version, kind = (first >> 16) & 0x7FFF, first & 0xFFFF
        if version != VERSION:
            raise SpdyError(f"SPDY frame of version {version}: only version {VERSION} is spoken here")
        try:
            return self._control(kind, flags, payload)
        except struct.error as error:
            raise SpdyError(f"SPDY control frame {kind}: too short ({len(payload)} bytes)") from error

    def _control(self, kind: int, flags: int, payload: bytes) -> Frame | None:  # noqa: PLR0911 - one return a kind of frame
        fin = bool(flags & FIN)
        match kind:
            case 1:
                stream, _, priority, _ = struct.unpack(">IIBB", payload[:10])
                headers = self._headers(payload[10:])
                return SynStream(stream & _ID, headers, fin, priority >> 5, bool(flags & 2))
            case 2:
                return SynReply(_word(payload, 0) & _ID, self._headers(payload[4:]), fin)
            case 8:
                return Headers(_word(payload, 0) & _ID, self._headers(payload[4:]), fin)
            case 3:
                return RstStream(_word(payload, 0) & _ID, _word(payload, 4))
            case 4:
                count = min(_word(payload, 0), len(payload) // 8)
                pairs = struct.iter_unpack(">II", payload[4 : 4 + 8 * count])
                return Settings(tuple(Setting(a & 0xFF_FFFF, value, a >> 24) for a, value in pairs))
            case 6:
                return Ping(_word(payload, 0))
            case 7:
                return GoAway(_word(payload, 0) & _ID, _word(payload, 4))
            case 9:
                return WindowUpdate(_word(payload, 0) & _ID, _word(payload, 4) & _ID)
            case _:
                return None

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block, MAX_HEADERS)
        except zlib.error as error:
            raise SpdyError(f"SPDY header block: {error}") from error
        if self._inflate.unconsumed_tail:
            raise SpdyError(f"SPDY header block: more than {MAX_HEADERS} bytes")
        return _pairs(plain)


def _pairs(plain: bytes) -> dict[str, str]:
    texts: list[str] = []
    count = _word(plain, 0)
    position = 4
    for _ in range(2 * count):
        length = _word(plain, position)
        position += 4
        if position + length > len(plain):
            raise SpdyError("SPDY header block: a text reaches beyond its end")
        texts.append(plain[position : position + length].decode("utf-8", "replace"))
        position += length
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _word(payload: bytes, offset: int) -> int:
    value: int = struct.unpack_from(">I", payload, offset)[0]
    return value


def _control(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack(">HHI", _CONTROL | VERSION, kind, (flags << 24) | len(payload)) + payload


def _data(frame: Data) -> bytes:
    if len(frame.payload) > 0xFF_FFFF:
        raise SpdyError(f"SPDY data frame of {len(frame.payload)} bytes: larger than 16 MiB")
    flags = FIN if frame.fin else 0
    return struct.pack(">II", frame.stream & _ID, (flags << 24) | len(frame.payload)) + frame.payload

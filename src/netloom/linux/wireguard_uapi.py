"""WireGuard outside of the kernel: the text protocol of ``wireguard-go`` and its like. In: changes. Out: what the driver has.

The first half is pure (the cross-platform userspace protocol of wireguard.com/xplatform). Not here: the process (``process``).
"""

from __future__ import annotations

import base64
import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from netloom.errors import KernelError, Unavailable
from netloom.linux.libc import kernel_error
from netloom.program.wireguard import (
    Endpoint,
    WireguardChange,
    WireguardPeer,
    WireguardPeerState,
    WireguardState,
)
from netloom.units import Cidr

_ANSWER_BYTES = 64 << 20
"""Of one answer at most: 100 bytes for a peer, 30 for a range."""
_TIMEOUT_S = 10.0

GET = b"get=1\n\n"


def encode_change(change: WireguardChange) -> bytes:
    """A change as one operation."""
    return "".join(f"{line}\n" for line in ("set=1", *_lines(change), "")).encode()


def _lines(change: WireguardChange) -> Iterator[str]:
    if change.private_key is not None:
        yield f"private_key={change.private_key.hex()}"
    if change.port is not None:
        yield f"listen_port={change.port}"
    for peer in change.put:
        yield f"public_key={base64.b64decode(peer.key).hex()}"
        yield "replace_allowed_ips=true"
        if peer.endpoint is not None:
            yield f"endpoint={peer.endpoint}"
        yield from (f"allowed_ip={cidr}" for cidr in sorted(peer.allowed, key=lambda c: (c.version, c)))
    for key in change.remove:
        yield f"public_key={base64.b64decode(key).hex()}"
        yield "remove=true"
    for key in change.greet:
        # whoever begins to keep a session alive speaks at once; that is all we want of it
        for seconds in (1, 0):
            yield f"public_key={base64.b64decode(key).hex()}"
            yield "update_only=true"
            yield f"persistent_keepalive_interval={seconds}"


def decode_answer(text: str) -> tuple[int, list[tuple[str, str]]]:
    """The errno of an answer (0: done), and its other lines as pairs."""
    number = errno.EPROTO
    pairs = []
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if name == "errno":
            number = abs(int(value)) if value.lstrip("-").isdigit() else errno.EPROTO
        elif equals:
            pairs.append((name, value))
    return number, pairs


def decode_state(pairs: list[tuple[str, str]], public_key: str) -> WireguardState:
    """The interface that an answer to ``get`` shows.

    Args:
        pairs: of the answer.
        public_key: of its private key, which the answer has instead.
    """
    port = 0
    peers: dict[str, WireguardPeerState] = {}
    blocks: list[tuple[str, list[tuple[str, str]]]] = []
    for name, value in pairs:
        if name == "public_key":
            blocks.append((base64.b64encode(bytes.fromhex(value)).decode(), []))
        elif blocks:
            blocks[-1][1].append((name, value))
        elif name == "listen_port":
            port = int(value)
    for key, lines in blocks:
        peers[key] = _decode_peer(key, lines)
    return WireguardState(public_key, port, peers)


def _decode_peer(key: str, lines: list[tuple[str, str]]) -> WireguardPeerState:
    said = dict(lines)
    allowed: frozenset[Cidr] = frozenset(ipaddress.ip_network(v) for n, v in lines if n == "allowed_ip")
    handshake = (
        int(said.get("last_handshake_time_sec", 0)) + int(said.get("last_handshake_time_nsec", 0)) / 1e9
    )
    return WireguardPeerState(
        WireguardPeer(key, _decode_endpoint(said.get("endpoint", "")), allowed),
        handshake,
        int(said.get("rx_bytes", 0)),
        int(said.get("tx_bytes", 0)),
    )


def _decode_endpoint(text: str) -> Endpoint | None:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        return None
    return Endpoint(ipaddress.ip_address(host.strip("[]")), int(port))


class UserspaceWireguard:
    """One interface of a driver that is a process. One operation at a time; each blocks for about a millisecond.

    Args:
        path: of its socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def connect(self) -> socket.socket:
        """A connection, which ends when the process does.

        Raises:
            Unavailable: nobody listens.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(_TIMEOUT_S)
            with _short(self._path) as path:
                sock.connect(path)
        except OSError as error:
            sock.close()
            raise Unavailable(
                f"WireGuard process at {self._path}: {error.strerror or error}", "it is started again"
            ) from error
        return sock

    def read(self) -> WireguardState:
        """What the driver has.

        Raises:
            KernelError: it refused, or does not speak this protocol.
            Unavailable: it does not answer.
        """
        pairs = self._ask(GET, "read wireguard")
        private = next((value for name, value in pairs if name == "private_key"), "")
        return decode_state(pairs, public_key_of(bytes.fromhex(private)) if private.strip("0") else "")

    def change(self, change: WireguardChange) -> None:
        """Put a change in force.

        Raises:
            KernelError: it refused; peers before the refused one may have been changed.
            Unavailable: it does not answer.
        """
        self._ask(encode_change(change), "set wireguard")

    def _ask(self, request: bytes, operation: str) -> list[tuple[str, str]]:
        with self.connect() as sock:
            try:
                sock.sendall(request)
                answer = _receive(sock)
            except OSError as error:
                raise Unavailable(f"WireGuard process at {self._path}: {error}", "try again") from error
        number, pairs = decode_answer(answer.decode(errors="replace"))
        if number:
            raise kernel_error(f"{operation} at {self._path}", number)
        return pairs


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Another path to the same socket: a socket's has 107 bytes at most (unix(7))."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def public_key_of(private: bytes) -> str:
    """The public key of 32 bytes of private key, in base64 (RFC 7748)."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415 - 30 ms, and few nodes have use for it

    return base64.b64encode(
        X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    ).decode()


def _receive(sock: socket.socket) -> bytes:
    """Up to the empty line that ends an answer."""
    received = bytearray()
    while not received.endswith(b"\n\n"):
        chunk = sock.recv(1 << 20)
        if not chunk:
            raise ConnectionResetError(errno.ECONNRESET, "it ended in the middle of an answer")
        received += chunk
        if len(received) > _ANSWER_BYTES:
            raise KernelError("read wireguard", errno.EMSGSIZE, "the answer does not end")
    return bytes(received)

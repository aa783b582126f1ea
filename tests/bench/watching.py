"""When a change can be read, and when it is in force, without asking. In: a namespace, an API server; out: events.

The kernel tells after each nftables commit. A notification is sent when the new generation is active (``nf_tables_commit``), so the
time of its arrival is late by one wake-up of the reader and never early. For events of a watch the kernel's own time of the
segment's arrival is taken (``SO_TIMESTAMPNS``), which has no wake-up in it: so what lies between is never told too short.
"""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
import ssl
import struct
import time
from collections.abc import Mapping
from typing import Any

from tests.bench import population

from netloom.kube.kubeconfig import ClientConfig
from netloom.kube.resources import ENDPOINT_SLICES
from netloom.kube.tls import client_context
from netloom.linux import netns

_NETLINK_NETFILTER = 12
_NFNLGRP_NFTABLES = 7
_SOL_NETLINK, _ADD_MEMBERSHIP, _SO_RCVBUFFORCE = 270, 1, 33
_HEADER = struct.Struct("=IHHII")
_NEWGEN = 10 << 8 | 15
_ELEMENTS = (10 << 8 | 12, 10 << 8 | 14)  # NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM
_TIMESPEC = struct.Struct("=qq")
_SO_TIMESTAMPNS = 35  # and SCM_TIMESTAMPNS
_SERVICE_KEY = re.compile(rb"(\x0a\x60..)\x06\0\0\0\0\x50", re.DOTALL)
"""Address, protocol and port of a Service, each in a register of its own: they stand like this in the keys of all maps."""
_LENGTH = re.compile(rb"(?i)content-length: *(\d+)")
_SLICE_NAME = re.compile(rb'"name":"svc-(\d+)-abcde"')


class TableWatch:
    """Elements that come and go in the tables of one network namespace."""

    def __init__(self, netns_fd: int) -> None:
        self.socket = netns.open_socket(netns_fd, socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):
            try:
                self.socket.setsockopt(socket.SOL_SOCKET, option, 8 << 20)
            except PermissionError:
                continue  # without root of the machine: what the system allows must do
        self.socket.bind((0, 0))
        self.socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
        self.socket.setblocking(False)
        self.commits = 0
        """Transactions that the kernel has told of, of anybody in this namespace."""

    def close(self) -> None:
        """Stop listening."""
        self.socket.close()

    def services(self) -> set[int]:
        """What has arrived: the Services of :mod:`population` whose elements came or went. Commits are counted besides."""
        found: set[int] = set()
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except BlockingIOError:
                return found
            while len(data) >= _HEADER.size:
                length, kind, *_ = _HEADER.unpack_from(data)
                self.commits += kind == _NEWGEN
                if kind in _ELEMENTS:
                    found.update(map(population.number_at, _SERVICE_KEY.findall(data, 0, length)))
                data = data[length + 3 & ~3 :]


class EventWatch:
    """A watch of EndpointSlices over TLS, as any client on the node may have one, with the kernel's times of arrival."""

    def __init__(self, config: ClientConfig, netns_fd: int, address: tuple[str, int]) -> None:
        context = client_context(config)
        assert isinstance(context, ssl.SSLContext)
        self.socket = netns.open_socket(netns_fd, socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(20.0)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.socket.connect(address)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=address[0])
        self._rest = b""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.socket.sendall(self._out.read())
                self._in.write(self.socket.recv(1 << 16))
        version = json.loads(self._ask("?limit=1"))["metadata"]["resourceVersion"]
        self._rest = self._ask(f"?watch=true&resourceVersion={version}")
        self.socket.setblocking(False)

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def services(self) -> dict[int, float]:
        """What has arrived: the Services whose slices have changed, and when (on the monotonic clock)."""
        found: dict[int, float] = {}
        while True:
            try:
                data, control, _, _ = self.socket.recvmsg(1 << 16, 64)
            except BlockingIOError:
                return found
            if not data:
                raise RuntimeError("the API server has ended the watch")
            at = _arrived(control)
            self._in.write(data)
            *lines, self._rest = (self._rest + self._decrypted()).split(b"\n")
            for line in lines:
                if name := _SLICE_NAME.search(line):
                    found.setdefault(int(name[1]), at)

    def _decrypted(self) -> bytes:
        pieces = []
        while True:
            try:
                pieces.append(self._tls.read(1 << 16))
            except ssl.SSLWantReadError:
                return b"".join(pieces)

    def _ask(self, query: str) -> bytes:
        """A request; the body of its answer, or what has come of it where its length is not told."""
        request = f"GET {ENDPOINT_SLICES.path('')}{query} HTTP/1.1\r\nHost: api\r\n\r\n"
        self._tls.write(request.encode())
        self.socket.sendall(self._out.read())
        head, end, body = b"", b"", b""
        length = 0
        while not end or len(body) < length:
            self._in.write(self.socket.recv(1 << 16))
            head, end, body = (head + end + body + self._decrypted()).partition(b"\r\n\r\n")
            if told := _LENGTH.search(head):
                length = int(told[1])
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"GET {query}: {head.decode(errors='replace')}")
        return body


def _arrived(control: list[tuple[int, int, bytes]]) -> float:
    """The kernel's time of a segment, on the monotonic clock."""
    for level, kind, value in control:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            arrived: float = seconds + nanoseconds * 1e-9
            return time.monotonic() - (time.time() - arrived)
    raise RuntimeError("the kernel does not say when a segment arrived")


class Patcher:
    """PATCHes over one connection with TLS, as a controller has it; its socket can be waited for."""

    def __init__(self, config: ClientConfig) -> None:
        context = client_context(config)
        assert isinstance(context, ssl.SSLContext)
        host, _, port = config.server.removeprefix("https://").rpartition(":")
        self._connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=30)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    @property
    def socket(self) -> socket.socket:
        """Readable when an answer comes."""
        return self._connection.sock

    def send(self, path: str, body: Mapping[str, Any]) -> float:
        """Send one merge patch; gives the time just before."""
        text = json.dumps(body).encode()
        began = time.monotonic()
        headers = {"Content-Type": "application/merge-patch+json"}
        self._connection.request("PATCH", path, body=text, headers=headers)
        return began

    def answer(self) -> None:
        """Read the answer; RuntimeError where it is a refusal."""
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"PATCH: {response.status} {body[:300].decode(errors='replace')}")


def wait(*sources: Any, timeout_s: float = 20.0) -> set[int]:
    """Descriptors that can be read; RuntimeError where none can for long."""
    ready, _, _ = select.select([source.fileno() for source in sources], [], [], timeout_s)
    if not ready:
        raise RuntimeError(f"nothing happened in {timeout_s:.0f} s")
    return set(ready)

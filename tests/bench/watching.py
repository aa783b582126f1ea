"""When a change is in force, without asking: the kernel tells after each nftables commit. In: a namespace; out: events.

A notification is sent when the new generation is active (``nf_tables_commit``), so the time of its arrival is late by one wake-up
of the reader and never early.
"""

from __future__ import annotations

import http.client
import json
import select
import socket
import ssl
import struct
import time
from collections.abc import Mapping
from typing import Any

from netloom.kube.kubeconfig import ClientConfig
from netloom.linux import netns

_NETLINK_NETFILTER = 12
_NFNLGRP_NFTABLES = 7
_SOL_NETLINK, _ADD_MEMBERSHIP, _SO_RCVBUFFORCE = 270, 1, 33
_HEADER = struct.Struct("=IHHII")
_ELEMENTS = (10 << 8 | 12, 10 << 8 | 14)  # NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM


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

    def close(self) -> None:
        """Stop listening."""
        self.socket.close()

    def elements(self) -> list[bytes]:
        """What has arrived: the bytes of each message about elements."""
        found = []
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except BlockingIOError:
                return found
            while len(data) >= _HEADER.size:
                length, kind, *_ = _HEADER.unpack_from(data)
                if kind in _ELEMENTS:
                    found.append(data[:length])
                data = data[length + 3 & ~3 :]


class Patcher:
    """PATCHes over one connection with TLS, as a controller has it; its socket can be waited for."""

    def __init__(self, config: ClientConfig, directory: Any) -> None:
        context = ssl.create_default_context(cadata=config.ca_data.decode())
        certificate, key = directory / "client.crt", directory / "client.key"
        certificate.write_bytes(config.client_cert)
        key.touch(mode=0o600)
        key.write_bytes(config.client_key)
        context.load_cert_chain(certificate, key)
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

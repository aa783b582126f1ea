"""DNS cookies (RFC 7873): a client that sends one gets it back with ours, and so knows that the answer is from whom it asked.

Comes in: a query's COOKIE option and the client's address. Goes out: the option for the reply. Not enforced: our clients are the pods of
this node, whose addresses nobody can take. The secret is this process's own; after a restart clients get new cookies.
"""

from __future__ import annotations

import hashlib
import secrets

from netloom.clock import Clock
from netloom.dns.wire import OPTION_COOKIE, option

_CLIENT = 8
_VERSION = b"\1\0\0\0"
"""Version 1 and three reserved bytes, as RFC 9018 has them; the last 8 bytes are our own hash."""


class Cookies:
    """Makes server cookies."""

    def __init__(self, *, clock: Clock, secret: bytes = b"") -> None:
        self._clock = clock
        self._secret = secret or secrets.token_bytes(32)

    def option(self, cookie: bytes, address: bytes) -> bytes:
        """The whole option that answers a client's cookie, from this packed address."""
        client = cookie[:_CLIENT]
        known = _VERSION + (int(self._clock.wall()) & 0xFFFF_FFFF).to_bytes(4, "big")
        proof = hashlib.blake2b(client + known + address, key=self._secret, digest_size=8).digest()
        return option(OPTION_COOKIE, client + known + proof)

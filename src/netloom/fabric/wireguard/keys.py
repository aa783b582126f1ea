"""This node's key pair. In: the path of a file. Out: a key pair, or StorageError. The private key goes nowhere but to the driver.

The file has one line, the private key in base64, as ``wg genkey`` writes it. It appears as a whole or not at all, belongs to its
owner only, and outlives the agent. Who removes it gets another key; so does a file with something else in it, which is kept
beside it for whoever wants to know. Not here: telling the others the public key (``agent``).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import os
import secrets
import stat
from pathlib import Path

import msgspec

from netloom.errors import StorageError
from netloom.linux.wireguard_uapi import public_key_of

log = logging.getLogger(__name__)

_KEY_BYTES = 32
_OWNER_ONLY = 0o600


class KeyPair(msgspec.Struct, frozen=True):
    """``private`` are 32 bytes, ``public`` is text in base64."""

    private: bytes
    public: str

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r})"


def load_or_make(path: Path) -> KeyPair:
    """The pair in the file; a new one, in force only when it is on the disk, where there is none.

    Raises:
        StorageError: the file can neither be read nor written.
    """
    try:
        private = _read(path)
        if private is None:
            private = _make(path)
            log.info("a new WireGuard key is in %s", path)
    except OSError as error:
        raise StorageError(
            f"WireGuard key {path}: {error.strerror or error}",
            "see that its directory exists and is writable by this user",
        ) from error
    return KeyPair(private, public_key_of(private))


def _read(path: Path) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & ~_OWNER_ONLY:
            log.warning(
                "WireGuard key %s had mode %o: others could read it; it is %o now", path, mode, _OWNER_ONLY
            )
            os.fchmod(fd, _OWNER_ONLY)
        text = file.read(256)
    private = _parse(text)
    if private is None:
        aside = path.with_name(path.name + ".unreadable")
        path.replace(aside)
        log.error("WireGuard key %s was no key; it is %s now, and a new one is made", path, aside)
    return private


def _parse(text: bytes) -> bytes | None:
    try:
        private = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return private if len(private) == _KEY_BYTES and any(private) else None


def _make(path: Path) -> bytes:
    raw = bytearray(secrets.token_bytes(_KEY_BYTES))
    raw[0] &= 248  # RFC 7748 section 5: as every implementation would read it anyway
    raw[31] = (raw[31] & 127) | 64
    private = bytes(raw)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(base64.b64encode(private) + b"\n")
            file.flush()
            os.fsync(fd)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return private

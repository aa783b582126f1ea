"""SIGKILL at every system call that changes a file: what is found afterwards is "before" or "after", and going on is exact.

A child does one thing to a record while we trace it (ptrace), and is killed on its way into the k-th call that writes, for every k.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import shutil
import signal
import sqlite3
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from netloom.cni.ipam.store import AddressStore, Attachment, PortMapping

FOUR = ipaddress.ip_network("192.0.2.0/29")
SIX = ipaddress.ip_network("2001:db8::/125")
BLOCK = ipaddress.ip_network("198.51.100.0/30")
PORTS = (PortMapping(8080, 80, "tcp"),)

_TRACEME, _CONT_SYSCALL, _SETOPTIONS, _GETREGSET = 0, 24, 0x4200, 0x4204
_SYSGOOD, _EXITKILL, _PRSTATUS = 1, 1 << 20, 1
_WRITES = {1, 18, 20, 74, 75, 77, 87, 76, 82, 263, 264, 9, 2, 257}
"""x86_64: write, pwrite64, writev, fsync, fdatasync, ftruncate, unlink, truncate, rename, unlinkat, renameat, mmap, open, openat."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="numbers of system calls are those of x86_64"
)


class _IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    if _libc.ptrace(request, pid, ctypes.c_void_p(address), ctypes.c_void_p(data)) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def _syscall_number(pid: int) -> int:
    registers = ctypes.create_string_buffer(27 * 8)  # struct user_regs_struct; orig_rax is the sixteenth
    vector = _IoVec(ctypes.addressof(registers), len(registers))
    _ptrace(_GETREGSET, pid, _PRSTATUS, ctypes.addressof(vector))
    return struct.unpack_from("<Q", registers, 15 * 8)[0]


def killed_at(path: Path, work: Callable[[AddressStore], object], kill_at: int) -> bool:
    """Do the work in a child that is killed on its way into its k-th writing call; False where it ended before."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            _libc.ptrace(_TRACEME, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            work(AddressStore(path))
        finally:
            os._exit(0)
    try:
        os.waitpid(child, 0)
        _ptrace(_SETOPTIONS, child, 0, _SYSGOOD | _EXITKILL)
        is_entry, count = True, 0
        while True:
            _ptrace(_CONT_SYSCALL, child)
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                return False
            if os.WSTOPSIG(status) != signal.SIGTRAP | 0x80:
                continue
            if is_entry and _syscall_number(child) in _WRITES:
                count += 1
                if count == kill_at:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    return True
            is_entry = not is_entry
    except OSError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise


def image(store: AddressStore) -> object:
    """What the record says, but for times."""
    usage = store.usage(BLOCK)
    leases = [(lease.attachment, lease.addresses, lease.pod, lease.ports) for lease in store.leases()]
    holdings = [(h.address, h.attachment, h.pod, h.block) for h in store.holdings()]
    closed = sorted(text for (text,) in store._db.execute("SELECT range FROM closed"))
    return leases, holdings, (usage.used, usage.lent), closed


def prepared(path: Path) -> None:
    store = AddressStore(path)
    store.reserve(Attachment("a", "eth0"), [FOUR, SIX], "shop/a", ports=PORTS)
    store.reserve(Attachment("b", "eth0"), [FOUR, SIX], "shop/b", blocks=[BLOCK])
    store.reserve(Attachment("c", "eth0"), [], "shop/c", blocks=[BLOCK])
    store.release(Attachment("b", "eth0"))
    store.lend(ipaddress.ip_address("192.0.2.5"), "192.0.2.5-32")
    store.close()


C = Attachment("new", "eth0")
WORKS: dict[str, Callable[[AddressStore], object]] = {
    "reserve": lambda s: s.reserve(C, [FOUR, SIX], "shop/new", ports=PORTS),
    "ask": lambda s: s.reserve(
        C, [FOUR, SIX], "shop/new", requested=[ipaddress.ip_address("192.0.2.6")], ports=PORTS
    ),
    "again-elsewhere": lambda s: s.reserve(
        Attachment("a", "eth0"), [], "shop/a", blocks=[BLOCK], versions=(4,)
    ),
    "release": lambda s: s.release(Attachment("a", "eth0")),
    "lend": lambda s: s.lend(ipaddress.ip_address("192.0.2.6"), "192.0.2.6-32"),
    "take-back": lambda s: s.take_back([]),
    "close": lambda s: s.close_range(ipaddress.ip_network("198.51.100.4/30")),
}


@pytest.mark.parametrize("name", WORKS)
def test_a_kill_between_any_two_writes_leaves_before_or_after(tmp_path: Path, name: str):
    origin = tmp_path / "origin.db"
    prepared(origin)
    work = WORKS[name]
    before_store = AddressStore(shutil.copy(origin, tmp_path / "before.db"))
    before = image(before_store)
    work(before_store)
    after = image(before_store)
    before_store.close()
    assert after != before
    seen = set()
    kill_at, was_killed = 0, True
    while was_killed:
        kill_at += 1
        path = Path(shutil.copy(origin, tmp_path / f"run-{kill_at}.db"))
        was_killed = killed_at(path, work, kill_at)
        revived = AddressStore(path)
        found = image(revived)
        assert found in (before, after), f"killed at write {kill_at}"
        seen.add(found == after)
        work(revived)
        again = image(revived)
        assert again == after or name == "again-elsewhere", f"killed at write {kill_at}, and done again"
        everybody = [a for _, addresses, _, _ in again[0] for a in addresses]
        assert len(everybody) == len(set(everybody))
        revived.close()
    assert kill_at > 2, "the calls that write were not seen"
    assert seen == {True, False}


def test_a_kill_while_an_old_record_is_taken_over_leaves_one_that_can_be(tmp_path: Path):
    origin = tmp_path / "origin.db"
    db = sqlite3.connect(origin)
    db.execute(
        "CREATE TABLE addresses (family INTEGER NOT NULL, address BLOB NOT NULL, container TEXT, interface TEXT,"
        " pod TEXT NOT NULL DEFAULT '', freed INTEGER, PRIMARY KEY (family, address)) WITHOUT ROWID"
    )
    db.execute("INSERT INTO addresses VALUES (4, ?, 'a', 'eth0', 'shop/a', NULL)", (FOUR[2].packed,))
    db.commit()
    db.close()
    kill_at, was_killed = 0, True
    while was_killed:
        kill_at += 1
        path = Path(shutil.copy(origin, tmp_path / f"run-{kill_at}.db"))
        was_killed = killed_at(path, lambda store: None, kill_at)
        revived = AddressStore(path)
        (lease,) = revived.leases()
        assert (lease.pod, lease.addresses) == ("shop/a", (FOUR[2],))
        revived.close()
    assert kill_at > 2

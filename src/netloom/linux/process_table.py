"""Which processes there are, whose children they are, and in which network namespace they live. In: /proc. Out: values.

Not here: who is to be ended, and ending it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec


class Entry(msgspec.Struct, frozen=True):
    """One process that has not ended."""

    pid: int
    parent: int
    net: int
    """Inode of its network namespace; 0 where that cannot be seen."""


def entries() -> Iterator[Entry]:
    """Every process of this pid namespace; those that have ended and are not collected yet are left out."""
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            # the name of a process may have blanks and parentheses (proc_pid_stat(5))
            fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in {"Z", "X"}:
            yield Entry(int(name), int(fields[1]), net_of(f"/proc/{name}/ns/net"))


def net_of(where: str | int) -> int:
    """Inode of the network namespace behind a path or a descriptor; 0 where there is none."""
    try:
        return os.stat(where).st_ino
    except OSError:
        return 0


def belonging(found: Iterable[Entry], *, roots: Iterable[int], nets: Iterable[int], foreign: int) -> set[int]:
    """The processes of a machine: its roots, who lives in its namespaces, their children, and who shares a namespace with one of these.

    Args:
        found: all processes.
        roots: process ids that are known to be the machine's.
        nets: network namespaces that are the machine's.
        foreign: the namespace of who asks, in which some of the machine's may be before they enter their own.
    """
    everybody = list(found)
    mine, known = set(roots), set(nets)
    grew = True
    while grew:
        more = [e for e in everybody if e.pid not in mine and (e.parent in mine or e.net in known)]
        mine |= {e.pid for e in more}
        reached = {e.net for e in everybody if e.pid in mine} - {0, foreign} - known
        known |= reached
        grew = bool(more or reached)
    return mine & {e.pid for e in everybody}

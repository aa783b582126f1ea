"""One SQLite transaction, as the node's stores make theirs. In: a connection. Out: all of the block's writes, or none."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end of the block, roll back where it raises; other writers wait meanwhile.

    Raises:
        sqlite3.Error: the file could not be written; nothing changed.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk makes SQLite roll back by itself
            db.execute("ROLLBACK")
        raise

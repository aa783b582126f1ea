"""The tables of the address record, and how a record of an older release becomes one of this. In: an open database.

A change of tables is one transaction with the number of the edition in it: whoever is killed here finds the old record or the new.
"""

from __future__ import annotations

import sqlite3

from netloom.errors import StorageError

EDITION = 1
"""SQLite's ``user_version``. 0: the first release, without times, ports, and addresses that were asked for."""

_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS addresses (
        family INTEGER NOT NULL,
        address BLOB NOT NULL,
        container TEXT,
        interface TEXT,
        pod TEXT NOT NULL DEFAULT '',
        freed INTEGER,
        PRIMARY KEY (family, address)
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX IF NOT EXISTS holders ON addresses (container, interface, family) WHERE container IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS free ON addresses (freed) WHERE freed IS NOT NULL",
)
# A row is an address that was handed out at least once. Free ones, and only those, have a number in `freed`; the one with
# the smallest number has been unused for longest. `pod` of a free one is who had it last.

_FROM_0 = (
    "ALTER TABLE addresses ADD COLUMN at REAL NOT NULL DEFAULT 0",
    # When the holder got it, or, of a free one, when it was given back; 0: long ago.
    "ALTER TABLE addresses ADD COLUMN ahead INTEGER NOT NULL DEFAULT 0",
    # 1: given out of turn, because somebody asked for it; those below it may never have been used.
    "ALTER TABLE addresses ADD COLUMN lent TEXT",
    # The block with which another node took it over.
    "CREATE TABLE ports (container TEXT, interface TEXT, ports BLOB NOT NULL, PRIMARY KEY (container, interface)) WITHOUT ROWID",
    "CREATE TABLE closed (range TEXT PRIMARY KEY) WITHOUT ROWID",
    # Ranges that this node is giving back: nothing of them is handed out.
    "UPDATE addresses SET at = :now WHERE freed IS NOT NULL",
    "CREATE INDEX rested ON addresses (at, freed) WHERE freed IS NOT NULL",
)


def prepare(db: sqlite3.Connection, path: str, now: float) -> None:
    """Bring the tables to this release's edition.

    Raises:
        StorageError: they are of a newer release.
        sqlite3.Error: the file cannot be read or written.
    """
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    if _edition(db) == EDITION:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        if _known_edition(db, path) == 0:  # another process may have been faster
            for statement in _TABLES:
                db.execute(statement)
            for statement in _FROM_0:
                db.execute(statement, {"now": now} if ":now" in statement else {})
            db.execute(f"PRAGMA user_version={EDITION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _known_edition(db: sqlite3.Connection, path: str) -> int:
    found = _edition(db)
    if found > EDITION:
        raise StorageError(
            f"address database {path}: it is of edition {found}, and this release knows {EDITION}",
            "run the release that wrote it, or delete the file when no pod runs on this node",
        )
    return found


def _edition(db: sqlite3.Connection) -> int:
    (found,) = db.execute("PRAGMA user_version").fetchone()
    return int(found)

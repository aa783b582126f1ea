"""What is said to SQLite, in the words of ``schema``. Addresses are bytes: their order is that of addresses of one family."""

from __future__ import annotations

TAKE = """
INSERT INTO addresses (family, address, container, interface, pod, at, ahead) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (family, address) DO UPDATE SET container = excluded.container, interface = excluded.interface,
    pod = excluded.pod, at = excluded.at, freed = NULL, lent = NULL
"""
FREED = "(SELECT coalesce(max(freed), 0) + 1 FROM addresses WHERE freed IS NOT NULL)"
FREE = f"""
UPDATE addresses SET container = NULL, interface = NULL, freed = {FREED}, at = ?
WHERE container = ? AND interface = ? AND family IN (?, ?)
"""  # noqa: S608 - put together from constants
LEND = """
INSERT INTO addresses (family, address, at, ahead, lent) VALUES (?, ?, ?, 1, ?)
ON CONFLICT (family, address) DO UPDATE SET freed = NULL, lent = excluded.lent, at = excluded.at
"""
LEASES = """
SELECT a.container, a.interface, a.pod, a.at, a.address, p.ports FROM addresses a
LEFT JOIN ports p ON p.container = a.container AND p.interface = a.interface
"""
TAKE_BACK = f"""
UPDATE addresses SET lent = NULL, freed = {FREED}, at = ? WHERE family = ? AND address = ?
"""  # noqa: S608 - as above
RETURN_TO = f"""
UPDATE addresses SET lent = NULL, freed = coalesce(freed, {FREED}), pod = ?, at = ?
WHERE family = ? AND address = ? AND container IS NULL
"""  # noqa: S608 - as above
USAGE = """
SELECT coalesce(sum(container IS NOT NULL), 0), coalesce(sum(freed IS NOT NULL AND at > ?), 0), coalesce(sum(lent IS NOT NULL), 0)
FROM addresses WHERE family = ? AND address BETWEEN ? AND ?
"""
BUSY = """
SELECT count(*) FROM addresses WHERE family = ? AND address BETWEEN ? AND ?
AND (container IS NOT NULL OR lent IS NOT NULL OR freed IS NOT NULL AND at > ? AND (pod != ? OR pod = ''))
"""

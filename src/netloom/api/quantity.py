"""Resource quantities: ``500m``, ``1.5``, ``64Mi``, ``2e3`` (apimachinery resource.Quantity). Pure.

Comes in: text or a number of a document. Goes out: an exact value. Not here: which field is a quantity (schema.py).
"""

from __future__ import annotations

import re
from decimal import Decimal

QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d{1,3})?\Z")

_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(10**3), "M": Decimal(10**6),
    "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}  # fmt: skip


def parse(value: object) -> Decimal | None:
    """The value of a quantity in its base unit (cores, bytes, pieces), or None where it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    found = QUANTITY.match(str(value))
    if found is None:
        return None
    number, suffix = found[1], found[2] or ""
    if suffix in _SUFFIXES:
        return Decimal(number) * _SUFFIXES[suffix]
    return Decimal(number + suffix)

"""Verdicts in the kernel's encoding (``linux/netfilter/nf_tables.h``: enum nft_verdicts). Pure."""

from __future__ import annotations

from netloom.linux.netlink import attr, attributes, be32, nested, string, text
from netloom.program.nft import Verdict

_DATA_VERDICT = 2
_CODE = 1
_CHAIN = 2
_CODES = {"drop": 0, "accept": 1, "jump": -3, "goto": -4, "return": -5}
_WORDS = {code: word for word, code in _CODES.items()}


def encode_verdict(verdict: Verdict) -> bytes:
    """The attribute that holds a verdict."""
    chain = attr(_CHAIN, string(verdict.chain)) if verdict.chain else b""
    return nested(_DATA_VERDICT, attr(_CODE, be32(_CODES[verdict.word] & 0xFFFF_FFFF)), chain)


def decode_verdict(payload: bytes) -> Verdict:
    """What is inside of such an attribute.

    Raises:
        ValueError: it is a verdict that we never write.
    """
    found = attributes(payload)
    code = int.from_bytes(found.get(_CODE, b""), "big", signed=True)
    if code not in _WORDS:
        raise ValueError(f"verdict {code} is none of ours")
    return Verdict(_WORDS[code], text(found.get(_CHAIN, b"")))

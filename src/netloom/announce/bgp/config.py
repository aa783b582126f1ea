"""What the model says in the words of BIRD 2.0. Pure. In: a Speech, passwords. Out: the text of a configuration file.

The same input gives the same text. Nothing that a user has written is in it as it was written: addresses and numbers are printed from
their types, names are a fixed alphabet or a digest, and a password that BIRD's language cannot hold is refused before. Not here: which
routes and peers (``model/announcing/bgp``), and the program (``bird.py``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from netloom.errors import UsageError
from netloom.model.announcing.bgp import Advertised, Speech
from netloom.model.announcing.bgp_peers import Peer
from netloom.program.names import BGP_ROUTE_METRIC
from netloom.units import Cidr, Family, family_of

RESTART_S = 120
"""For how long peers keep our routes while BIRD is away (RFC 4724 restart time)."""
_RECOVERY_S = 30
"""For how long a BIRD that has come back waits for what its peers know."""
_LOG_BYTES = 1 << 20
_PEER = "peer:"
_PLAIN_NAME = re.compile(r"[a-z0-9.-]{1,40}")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")
_LONGEST_PASSWORD = 80
"""Bytes of a key of TCP MD5 (TCP_MD5SIG_MAXKEYLEN, linux/tcp.h)."""
_PASSWORD = re.compile(r"[ !#-~]+")
"""BIRD's strings end at a quotation mark and know no escape."""
_CHANNELS = {Family.V4: "ipv4", Family.V6: "ipv6"}


def password_problem(password: str) -> str:
    """Why a password cannot be used; empty where it can."""
    if not password:
        return "is empty"
    if len(password.encode()) > _LONGEST_PASSWORD:
        return f"is longer than {_LONGEST_PASSWORD} bytes"
    if not _PASSWORD.fullmatch(password):
        return "has a quotation mark, or a character that is not printable ASCII"
    return ""


def protocol_of(peer: str) -> str:
    """The name of a peer's session in BIRD, which follows from the BGPPeer's alone: no other peer's coming changes it."""
    if _PLAIN_NAME.fullmatch(peer):
        return _PEER + peer
    return f"{_PEER}{hashlib.sha256(peer.encode()).hexdigest()[:16]}"


def render(
    speech: Speech, *, passwords: Mapping[str, str], log: Path | None = None, is_recovering: bool = False
) -> str:
    """The configuration file.

    Args:
        speech: what there is to say.
        passwords: of those peers that have one, by the BGPPeer's name; who should have one and has none here is left out.
        log: where BIRD tells what it does; None: on its standard error.
        is_recovering: for one that has just come back: the kernel keeps what it has until the peers have told what they know. BIRD waits for
            that by itself only where a peer promises to say when it has done (FRR's helper does not).

    Raises:
        UsageError: a password or a path that cannot be written in BIRD's language.
    """
    lines = [
        log_line(log),
        f"router id {speech.router_id};",
        f"graceful restart wait {_RECOVERY_S};",
        "protocol device { }",
        "protocol bfd { }",
    ]
    families = sorted({f for peer in speech.peers for f in peer.families}, key=lambda family: family.bits)
    for family in families:
        lines += _announced(family, speech)
        ranges = [cidr for cidr in speech.learned if family_of(cidr) is family]
        lines += _learned(family, ranges, is_recovering=is_recovering)
    for peer in speech.peers:
        password = passwords.get(peer.name, "")
        if peer.password is None or password:
            lines += _session(peer, password, speech)
    return "\n".join(lines) + "\n"


def log_line(log: Path | None) -> str:
    """Where BIRD logs; None: on its standard error.

    Raises:
        UsageError: a path that cannot be written in BIRD's language.
    """
    what = "{ info, remote, warning, error, auth, fatal, bug }"
    if log is None:
        return f"log stderr {what};"
    return f'log "{_path(log)}" {_LOG_BYTES} "{_path(log)}.old" {what};'


def _path(path: Path) -> str:
    text = str(path)
    if not _PLAIN_PATH.fullmatch(text):
        raise UsageError(f"{text!r} cannot be written in a configuration of BIRD", "choose another directory")
    return text


def _announced(family: Family, speech: Speech) -> Iterator[str]:
    channel = _CHANNELS[family]
    yield f"protocol static 'announced:{channel}' {{"
    yield f"  {channel};"
    for one in speech.announced:
        if family_of(one.prefix) is family:
            yield f"  route {one.prefix} blackhole{_attributes(one)};"
    yield "}"


def _attributes(one: Advertised) -> str:
    said = [f"bgp_community.add(({high},{low}));" for high, low in one.communities]
    said += [f"bgp_large_community.add(({a},{b},{c}));" for a, b, c in one.large_communities]
    if one.local_pref is not None:
        said.append(f"bgp_local_pref = {one.local_pref};")
    return f" {{ {' '.join(said)} }}" if said else ""


def _learned(family: Family, ranges: list[Cidr], *, is_recovering: bool) -> Iterator[str]:
    """The filter of what peers say, and the way into the kernel; what others have put there is never touched (``learn`` is off)."""
    channel = _CHANNELS[family]
    if not ranges:
        return
    yield f"filter 'learned:{channel}' {{"
    yield f"  if net ~ [ {', '.join(f'{cidr}+' for cidr in ranges)} ] then accept;"
    yield "  reject;"
    yield "}"
    yield f"protocol direct 'direct:{channel}' {{ {channel}; }}"
    yield f"protocol kernel 'kernel:{channel}' {{"
    if is_recovering:
        yield "  disabled;"
    yield f"  {channel} {{ import none; export where source = RTS_BGP; }};"
    yield f"  metric {BGP_ROUTE_METRIC};"
    yield "  merge paths yes limit 16;"
    yield "  graceful restart;"
    yield "  scan time 2;"  # by then what others have taken is back
    yield "}"


def _session(peer: Peer, password: str, speech: Speech) -> Iterator[str]:
    yield f"protocol bgp '{protocol_of(peer.name)}' {{"
    yield f"  local{'' if peer.local is None else f' {peer.local}'} as {peer.my_asn};"
    yield f"  neighbor {peer.address} port {peer.port} as {peer.asn};"
    yield "  multihop;" if peer.is_multi_hop else "  direct;"
    yield f"  hold time {peer.hold_s};"
    if peer.hold_s:
        yield f"  keepalive time {max(1, peer.keepalive_s)};"
    yield "  connect delay time 1;"
    yield "  connect retry time 5;"
    yield "  error wait time 1, 10;"
    yield "  error forget time 60;"
    if password:
        if problem := password_problem(password):
            raise UsageError(f"{peer.source.subject}: its password {problem}", "choose another")
        yield f'  password "{password}";'
    if peer.bfd is not None:
        rx, tx = peer.bfd.min_rx_ms, peer.bfd.min_tx_ms
        times = f"min rx interval {rx} ms; min tx interval {tx} ms; multiplier {peer.bfd.multiplier};"
        yield f"  bfd {{ {times} }};"
    yield f"  graceful restart {'on' if peer.is_graceful else 'off'};"
    if peer.is_graceful:
        yield f"  graceful restart time {RESTART_S};"
    if speech.learned and not peer.is_internal:
        yield "  allow local as 1;"  # all nodes are of one system, and hear of each other through the routers
    for family in peer.families:
        channel = _CHANNELS[family]
        is_learning = any(family_of(cidr) is family for cidr in speech.learned)
        taken = f"filter 'learned:{channel}'" if is_learning else "none"
        yield f"  {channel} {{ import {taken}; export where source = RTS_STATIC; }};"
    yield "}"

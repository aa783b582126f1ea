"""Address ranges of a local cluster: which families, whether they fit, and what is meant where nothing is said. Pure.

Comes in: what the user typed, by flag. Goes out: ranges of one order of families, or one UsageError that names the flag. Not
here: who gets which address (``segments.py``, ``controllers/node_ipam.py``).
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from netloom.errors import UsageError
from netloom.units import Cidr, Family, family_of

POD, SERVICE, UNDERLAY = "--pod-cidr", "--service-cidr", "--underlay-cidr"
LOAD_BALANCERS = "--load-balancer-pool"
FAMILY_FLAG = "--ip-family"

DEFAULTS: Mapping[str, Mapping[Family, str]] = {
    POD: {Family.V4: "10.244.0.0/16", Family.V6: "fd00:10:244::/48"},
    SERVICE: {Family.V4: "10.96.0.0/16", Family.V6: "fd00:10:96::/112"},
    UNDERLAY: {Family.V4: "172.30.0.0/24", Family.V6: "fd00:172:30::/56"},
}
"""By flag. The IPv6 ones are unique local addresses (RFC 4193) that remind of the IPv4 ones."""
FAMILY_WORDS: Mapping[str, tuple[Family, ...]] = {
    "ipv4": (Family.V4,),
    "ipv6": (Family.V6,),
    "dual": (Family.V4, Family.V6),
}
"""The words of ``--ip-family``."""
NODE_MASK: Mapping[Family, int] = {Family.V4: 24, Family.V6: 64}
"""Prefix of a node's pod range (kube-controller-manager ``--node-cidr-mask-size-ipv4/6``)."""
MOST_SERVICE_BITS = 20
"""So many bits a Service range may leave to addresses (kube-apiserver ``--service-cluster-ip-range``)."""
_LEAST_SERVICE_BITS = 5
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_EXAMPLE = "write it as 10.244.0.0/16, or for both families as 10.244.0.0/16,fd00:10:244::/48"


class Wish(NamedTuple):
    """One range that was asked for."""

    flag: str
    cidr: Cidr

    def __str__(self) -> str:
        return f"{self.flag} {self.cidr}"


def completed(given: Mapping[str, Sequence[str]], word: str = "") -> dict[str, tuple[str, ...]]:
    """The ranges of each flag: those given, and defaults of the same families, in the same order, for the rest.

    Args:
        given: texts by flag; missing or empty where nothing was said.
        word: of ``--ip-family``; empty where nothing was said. Families and their order are those of the first flag that was given.

    Raises:
        UsageError: ``--ip-family`` contradicts a range.
    """
    said = next((texts for texts in map(given.get, DEFAULTS) if texts), ())
    families = _families_of(said) if said or not word else FAMILY_WORDS[word]
    for flag, texts in given.items():
        if word and texts and set(_families_of(texts)) != set(FAMILY_WORDS[word]):
            raise UsageError(
                f"{flag} {','.join(texts)}: does not go with {FAMILY_FLAG} {word}",
                f"leave {FAMILY_FLAG} away: the ranges say which families there are",
            )
    return {
        flag: tuple(given.get(flag) or ()) or tuple(defaults[family] for family in families)
        for flag, defaults in DEFAULTS.items()
    }


def _families_of(texts: Sequence[str]) -> tuple[Family, ...]:
    """By their looks: whether they are ranges at all is asked later."""
    found = dict.fromkeys(Family.V6 if ":" in text else Family.V4 for text in texts)
    return tuple(found) or FAMILY_WORDS["ipv4"]


def read(flag: str, texts: Sequence[str]) -> tuple[Wish, ...]:
    """The ranges of one flag.

    Raises:
        UsageError: one is no range, or cannot be used; or there are two of one family.
    """
    if not texts:
        raise UsageError(f"{flag}: is empty", _EXAMPLE)
    wishes = tuple(Wish(flag, _cidr(flag, text)) for text in texts)
    for one, other in itertools.combinations(wishes, 2):
        if family_of(one.cidr) is family_of(other.cidr):
            raise UsageError(
                f"{flag} {one.cidr},{other.cidr}: two ranges of {family_of(one.cidr).address_type}",
                "give one of each family at most",
            )
    return wishes


def read_many(flag: str, texts: Sequence[str]) -> tuple[Wish, ...]:
    """The ranges of a flag that may have several of a family.

    Raises:
        UsageError: one is no range, cannot be used, or overlaps with another.
    """
    wishes = tuple(Wish(flag, _cidr(flag, text)) for text in texts)
    check_apart(wishes)
    return wishes


def check_families(
    pods: Sequence[Wish], services: Sequence[Wish], underlay: Sequence[Wish], *, tunnelled: bool
) -> None:
    """Pods and Services have the same families, the same one first; the underlay carries them.

    Args:
        pods: ranges of pods.
        services: ranges of Services.
        underlay: ranges of nodes.
        tunnelled: the fabric carries packets of one family inside those of another, so one family is enough for the underlay.

    Raises:
        UsageError: names the flag that does not fit.
    """
    families = [family_of(wish.cidr) for wish in pods]
    if (others := [family_of(wish.cidr) for wish in services]) != families:
        raise _unlike(services, others, families)
    carriers = [family_of(wish.cidr) for wish in underlay]
    if carriers[0] is not families[0]:
        raise _unlike(underlay, carriers, families)
    missing = [family.address_type for family in families if family not in carriers]
    if missing and not tunnelled:
        raise UsageError(
            f"{UNDERLAY} {_texts(underlay)}: has no {missing[0]}, but pods have it",
            f"add such a range, or choose a fabric that encapsulates: {UNDERLAY}"
            f" {_texts(underlay)},{DEFAULTS[UNDERLAY][families[-1]]}",
        )


def _unlike(wishes: Sequence[Wish], families: Sequence[Family], of_pods: Sequence[Family]) -> UsageError:
    def words(of: Sequence[Family]) -> str:
        return " and ".join(family.address_type for family in of)

    how = "in this order" if set(families) == set(of_pods) else "as well"
    return UsageError(
        f"{wishes[0].flag} {_texts(wishes)}: {words(families)}, but {POD} has {words(of_pods)}",
        f"give {words(of_pods)} {how}",
    )


def _texts(wishes: Sequence[Wish]) -> str:
    return ",".join(str(wish.cidr) for wish in wishes)


def check_pods(wish: Wish, nodes: int) -> None:
    """A range of pods has room for all nodes.

    Raises:
        UsageError: it has not.
    """
    mask = NODE_MASK[family_of(wish.cidr)]
    least = mask - (nodes - 1).bit_length()
    if wish.cidr.prefixlen > least:
        raise _too_small(wish, f"each of {nodes} nodes takes a /{mask}", least)


def check_services(wish: Wish) -> None:
    """A range of Services is neither too small nor larger than an API server takes.

    Raises:
        UsageError: it is.
    """
    bits = wish.cidr.max_prefixlen
    if wish.cidr.prefixlen > bits - _LEAST_SERVICE_BITS:
        raise _too_small(wish, "cluster DNS takes its tenth address", bits - _LEAST_SERVICE_BITS)
    if wish.cidr.prefixlen < bits - MOST_SERVICE_BITS:
        raise UsageError(
            f"{wish}: too large",
            f"use a prefix of /{bits - MOST_SERVICE_BITS} or longer, as kube-apiserver asks",
        )


def _too_small(wish: Wish, needs: str, least: int) -> UsageError:
    return UsageError(f"{wish}: too small, {needs}", f"use a prefix of /{least} or shorter")


def too_small_for_nodes(wish: Wish, nodes: int, segments: int, least: int) -> UsageError:
    """The refusal of an underlay without room."""
    where = f" on {segments} segments" if segments > 1 else ""
    return _too_small(wish, f"{nodes} nodes{where} take addresses from the eleventh on", least)


def check_apart(wishes: Sequence[Wish]) -> None:
    """No two ranges share an address.

    Raises:
        UsageError: two do.
    """
    for one, other in itertools.combinations(wishes, 2):
        if family_of(one.cidr) is family_of(other.cidr) and one.cidr.overlaps(other.cidr):
            raise UsageError(f"{one}: overlaps {other}", "choose ranges that share no address")


def _cidr(flag: str, text: str) -> Cidr:
    try:
        cidr = ipaddress.ip_network(text, strict=True)
    except ValueError:
        raise UsageError(f"{flag} {text!r}: {_reason(text)}", _EXAMPLE) from None
    if cidr.is_loopback or cidr.is_multicast or cidr.is_link_local or cidr.is_unspecified:
        raise UsageError(
            f"{flag} {cidr}: a range that cannot be routed", "use private addresses (RFC 1918, RFC 4193)"
        )
    if cidr.version == 6 and cidr.overlaps(_MAPPED):
        raise UsageError(
            f"{flag} {cidr}: IPv4 addresses as IPv6 ones", "use unique local addresses (RFC 4193)"
        )
    return cidr


def _reason(text: str) -> str:
    try:
        loose = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return "no CIDR"
    return f"has host bits set, the range would be {loose}"

"""Which pools a pod's addresses come from, and which addresses it asks for.

Comes in: a pod, its namespace, its node, the pools. Goes out: a :class:`Choice`, or InvalidObject with object and field. The order:
the pod's annotation, its namespace's, the most specific pools whose selectors match, the ranges of its node. Whoever names a pool
must match its selectors, too: they say who may have addresses of it. Not here: which address of a pool (``cni/ipam``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from netloom.api.core import Namespace, Node, Pod
from netloom.api.meta import KubeObject
from netloom.errors import InvalidObject
from netloom.model.addresses.pools import Pool
from netloom.model.addresses.ranges import holds
from netloom.units import Addr, Cidr, parse_addr

POOL_ANNOTATION = "netloom.io/ip-pool"
"""Of a Pod or a Namespace: names of IPPools, with commas between them; the first that has an address left is used."""
ADDRESSES_ANNOTATION = "netloom.io/ip-addresses"
"""Of a Pod: the addresses that it wants, at most one of each family, with a comma between them."""


class Choice(msgspec.Struct, frozen=True):
    """Where a pod's addresses come from."""

    pools: tuple[Pool, ...] = ()
    """In this order. A family that none of them has comes from the node's ranges."""
    requested: tuple[Addr, ...] = ()

    def pools_of(self, version: int) -> tuple[Pool, ...]:
        """Those with addresses of a family (4 or 6)."""
        return tuple(pool for pool in self.pools if version in pool.versions)

    def pool_of(self, address: Addr) -> Pool | None:
        """The one that an address is of; None for one of a node's range."""
        return next((pool for pool in self.pools if pool.has(address)), None)


def choose(
    pod: Pod,
    namespace: Namespace | None,
    node: Node | None,
    pools: Mapping[str, Pool],
    node_ranges: Iterable[Cidr],
) -> Choice:
    """What this pod gets on this node.

    Args:
        pod: which may ask for pools and addresses.
        namespace: its own; None where there is none, which then has no labels.
        node: on which it runs.
        pools: all, by name.
        node_ranges: Node ``spec.podCIDRs`` of all nodes.

    Raises:
        InvalidObject: an annotation names a pool that there is not or that this pod may not use, or an address that nobody has.
    """
    candidate = _Candidate(pod, namespace, node)
    named = _named(candidate, pools)
    chosen = _selected(candidate, pools) if named is None else named
    requested = _requested(pod)
    if not requested:
        return Choice(chosen)
    ranges = tuple(node_ranges)
    for address in requested:
        chosen = _with_home(candidate, address, chosen, pools, ranges)
    return Choice(chosen, requested)


class _Candidate(msgspec.Struct, frozen=True):
    pod: Pod
    namespace: Namespace | None
    node: Node | None

    def excluded_by(self, pool: Pool) -> str:
        """The field of the pool because of which this pod may have nothing of it, with words; empty where it may."""
        if pool.is_disabled:
            return "spec.disabled: it gives no addresses any more"
        for field, selector, subject in (
            ("nodeSelector", pool.nodes, self.node),
            ("namespaceSelector", pool.namespaces, self.namespace),
            ("podSelector", pool.pods, self.pod),
        ):
            if selector is not None and not selector.matches(_labels(subject)):
                return f"spec.{field}: it is not for {_name(field, subject)}"
        return ""


def _labels(subject: KubeObject | None) -> Mapping[str, str]:
    return {} if subject is None else subject.metadata.labels


def _name(field: str, subject: KubeObject | None) -> str:
    kind = field.removesuffix("Selector")
    if subject is None:
        return f"this {kind}"
    return f"{kind} {subject.key}"


def _named(candidate: _Candidate, pools: Mapping[str, Pool]) -> tuple[Pool, ...] | None:
    """The pools that the pod, else its namespace, names; None where neither does."""
    field = f"metadata.annotations[{POOL_ANNOTATION}]"
    for subject in (candidate.pod, candidate.namespace):
        if subject is None or POOL_ANNOTATION not in subject.metadata.annotations:
            continue
        said = f"{type(subject).__name__} {subject.key}"
        names = dict.fromkeys(_items(subject.metadata.annotations[POOL_ANNOTATION]))
        if not names:
            raise InvalidObject(said, field, "names no IPPool", "name one, or remove the annotation")
        found: list[Pool] = []
        closed: list[str] = []
        for name in names:
            if name not in pools:
                hint = f"there are {', '.join(sorted(pools))}" if pools else "there is none at all"
                raise InvalidObject(said, field, f"there is no IPPool {name}", hint)
            if because := candidate.excluded_by(pools[name]):
                closed.append(f"IPPool {name}: {because}")
            else:
                found.append(pools[name])
        if not found:
            raise InvalidObject(said, field, "; ".join(closed), "name another pool, or change this one")
        return tuple(found)
    return None


def _selected(candidate: _Candidate, pools: Mapping[str, Pool]) -> tuple[Pool, ...]:
    """The most specific of those that match; several that are alike in order of their names."""
    matching = [
        pool
        for _, pool in sorted(pools.items())
        if pool.has_selector and pool.cidrs and not candidate.excluded_by(pool)
    ]
    best = min((pool.rank for pool in matching), default=())
    return tuple(pool for pool in matching if pool.rank == best)


def _requested(pod: Pod) -> tuple[Addr, ...]:
    text = pod.metadata.annotations.get(ADDRESSES_ANNOTATION)
    if text is None:
        return ()
    said, field = f"Pod {pod.key}", f"metadata.annotations[{ADDRESSES_ANNOTATION}]"
    found: dict[int, Addr] = {}
    for item in _items(text):
        address = parse_addr(item)
        if address is None:
            raise InvalidObject(said, field, f"{item!r} is no IP address", "write it as 10.1.2.3 or fd00::3")
        if address.version in found:
            problem = f"{address} is a second one of its family"
            raise InvalidObject(said, field, problem, "ask for one of each family")
        found[address.version] = address
    if not found:
        raise InvalidObject(said, field, "names no address", "name one, or remove the annotation")
    return tuple(found[version] for version in sorted(found))


def _with_home(
    candidate: _Candidate,
    address: Addr,
    chosen: tuple[Pool, ...],
    pools: Mapping[str, Pool],
    ranges: tuple[Cidr, ...],
) -> tuple[Pool, ...]:
    """The pools, with the one that has this address."""
    said, field = f"Pod {candidate.pod.key}", f"metadata.annotations[{ADDRESSES_ANNOTATION}]"
    home = next((pool for pool in pools.values() if pool.has(address)), None)
    if home is not None and holds(home.reserved, address):
        problem = f"{address} is reserved (IPPool {home.name}: spec.reserved, or the edge of a range)"
        raise InvalidObject(said, field, problem, "ask for another")
    of_family = [pool for pool in chosen if address.version in pool.versions]
    if of_family:
        if home is None or home not in of_family:
            names = ", ".join(pool.name for pool in of_family)
            problem = f"{address} is not of IPPool {names}, from which this pod's addresses come"
            raise InvalidObject(said, field, problem, "ask for another, or name its pool")
        return chosen
    if home is None:
        if not holds(ranges, address):
            problem = f"{address} is in no IPPool and in the range of no node"
            raise InvalidObject(said, field, problem, "see kubectl get ippools, or ask for none")
        return chosen
    if because := candidate.excluded_by(home):
        raise InvalidObject(said, field, f"{address} is of IPPool {home.name}: {because}", "ask for another")
    return (*chosen, home)


def _items(text: str) -> list[str]:
    return [item for part in text.split(",") if (item := part.strip())]

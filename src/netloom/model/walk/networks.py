"""Networks of pods beside the cluster's own: who is in which, as their pods' status says.

Comes in: pods. Goes out: the way from one pod to an address that another has in such a network. What carries packets there is the
plugin's matter: no Service, policy or route of the cluster does. Source: annotation ``k8s.v1.cni.cncf.io/network-status`` (Network
Plumbing Working Group, de-facto standard 1.3, section 5).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from netloom.api.core import Pod
from netloom.api.networks import STATUS_ANNOTATION
from netloom.model.provenance import Source, source_of
from netloom.model.walk.steps import Branch, Outcome, Stage
from netloom.model.walk.trail import Trail
from netloom.units import Addr, ObjectKey, parse_addr


class _Entry(msgspec.Struct):
    name: str = ""
    interface: str = ""
    ips: tuple[str, ...] = ()
    default: bool = False


class Attached(msgspec.Struct, frozen=True):
    """One further network of a pod."""

    pod: ObjectKey
    network: str
    interface: str
    addresses: tuple[Addr, ...]
    source: Source


def attached(pod: Pod) -> Iterator[Attached]:
    """The further networks of a pod; none where its status cannot be read."""
    text = pod.metadata.annotations.get(STATUS_ANNOTATION)
    if text is None:
        return
    try:
        entries = msgspec.json.decode(text, type=tuple[_Entry, ...])
    except msgspec.MsgspecError:
        return
    source = source_of("Pod", pod.metadata, f"metadata.annotations[{STATUS_ANNOTATION}]")
    for one in entries:
        if not one.default:
            found = tuple(a for ip in one.ips if (a := _address(ip)) is not None)
            yield Attached(pod.key, one.name, one.interface, found, source)


def by_address(pods: Iterable[Pod]) -> dict[Addr, list[Attached]]:
    """Who has which address in such a network; several may have one, each in another network."""
    found: dict[Addr, list[Attached]] = {}
    for pod in pods:
        for one in attached(pod):
            for address in one.addresses:
                found.setdefault(address, []).append(one)
    return found


def beside(trail: Trail, sender: Pod, there: Mapping[Addr, list[Attached]]) -> Trail | Branch:
    """The way to an address of such a network; the trail where it is none, or one that the sender is not in."""
    to = trail.packet.destination
    holders = there.get(to)
    if not holders:
        return trail
    mine = {one.network: one for one in attached(sender)}
    for holder in holders:
        if (own := mine.get(holder.network)) is not None:
            text = f"leaves by {own.interface} for network {own.network}, beside the cluster's own"
            end = f"pod {holder.pod} at {to} ({holder.interface}), as the plugin of {own.network} carries it"
            onward = trail.then(Stage.LINK, text, own.source, holder.source)
            return onward.ends(Outcome.EXTERNAL, end)
    holder = holders[0]
    text = (
        f"{to} is pod {holder.pod} in network {holder.network} ({holder.interface}); the sender is not in it"
    )
    return trail.then(Stage.ROUTE, text, holder.source)


def _address(text: str) -> Addr | None:
    try:
        return parse_addr(text) or ipaddress.ip_interface(text).ip
    except ValueError:
        return None

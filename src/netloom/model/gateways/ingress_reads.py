"""Ingresses as they were read, kept while nothing changes that their reading depends on: one change among thousands costs one reading.

Comes in: Ingresses, Services, TrafficPolicies; which Services changed. Goes out: ``Kept`` readings. Not here: reading one (``ingress_rules.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from netloom.api.core import Service
from netloom.api.gateway import read_spec
from netloom.api.ingress import CLASS_ANNOTATION, Ingress, IngressSpec
from netloom.model.gateways.ingress_rules import ReadIngress, read_ingress
from netloom.model.gateways.pools import PoolRefs, PoolWish
from netloom.model.gateways.traffic_lookup import TrafficLookup
from netloom.model.provenance import Finding
from netloom.units import ObjectKey


class Kept(msgspec.Struct, frozen=True):
    """A reading, and what it was made from."""

    ingress: Ingress
    read: ReadIngress
    findings: tuple[Finding, ...]
    wishes: Mapping[str, PoolWish]
    asked: frozenset[ObjectKey]
    """Services that were looked at, there or not."""


class IngressReads:
    """Readings by Ingress."""

    def __init__(self) -> None:
        self._kept: dict[ObjectKey, Kept] = {}
        self._classes: dict[ObjectKey, tuple[Ingress, str]] = {}

    def forget(self, services: Collection[ObjectKey]) -> None:
        """These Services changed."""
        if services:
            self._kept = {key: one for key, one in self._kept.items() if one.asked.isdisjoint(services)}

    def forget_all(self) -> None:
        """Policies changed, or anything else that all readings may depend on."""
        self._kept.clear()

    def keep_only(self, keys: Collection[ObjectKey]) -> None:
        """Others are gone."""
        for held in (self._kept, self._classes):
            for key in held.keys() - keys:
                del held[key]

    def class_of(self, ingress: Ingress) -> str:
        """The class that an Ingress says, by field or by the annotation of old; empty where it says none."""
        known = self._classes.get(ingress.key)
        if known is None or known[0] is not ingress:
            said = read_spec(ingress, IngressSpec).value.ingress_class_name
            known = ingress, said or ingress.metadata.annotations.get(CLASS_ANNOTATION, "")
            self._classes[ingress.key] = known
        return known[1]

    def of(self, ingress: Ingress, services: Mapping[ObjectKey, Service], traffic: TrafficLookup) -> Kept:
        """The reading of an Ingress."""
        known = self._kept.get(ingress.key)
        if known is None or known.ingress is not ingress:
            pools = PoolRefs(services)
            findings: list[Finding] = []
            read = read_ingress(ingress, pools, traffic, findings)
            known = Kept(ingress, read, tuple(findings), dict(pools.wishes), frozenset(pools.asked))
            self._kept[ingress.key] = known
        return known

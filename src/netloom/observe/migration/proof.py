"""The proof of a migration: the same requests to the Ingresses as they were meant, to the made objects' model, and to a real HAProxy.

Comes in: a migration. Goes out: a ``Proof``. Not here: what the Ingresses meant (``model/gateways/migrate/retired.py``), sending (``haproxy.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from netloom.model.gateways.migrate.compare import Comparison, Difference, compare
from netloom.model.gateways.migrate.convert import Migration
from netloom.model.gateways.migrate.outcome import Boundary, Outcome, Sample
from netloom.model.gateways.migrate.read import port_numbers
from netloom.model.gateways.migrate.retired import Retired
from netloom.model.gateways.migrate.samples import samples_of
from netloom.model.gateways.migrate.successor import Successor, secrets_of, view_of
from netloom.model.gateways.plan import PoolProtocol
from netloom.observe.migration.haproxy import Observed, ask
from netloom.observe.migration.stand_ins import secrets_for

_HTTPS = 443
_OK = 200


class Proof(msgspec.Struct, frozen=True):
    """What was asked, and what differed."""

    by_model: Comparison
    by_engine: Comparison | None = None
    """None: no HAProxy was asked."""
    findings: tuple[str, ...] = ()
    """What the model could not use of the made objects: there should be nothing."""

    @property
    def is_proven(self) -> bool:
        """Nothing differs that was not said."""
        engine = self.by_engine
        return self.by_model.is_proven and (engine is None or engine.is_proven) and not self.findings


def prove(
    migration: Migration,
    documents: Sequence[Mapping[str, Any]],
    *,
    now: float,
    class_name: str,
    with_engine: bool,
) -> Proof:
    """Ask everybody.

    Raises:
        Unavailable: HAProxy could not be asked.
    """
    certificates, passwords = secrets_of(migration.objects)
    secrets = secrets_for(certificates, passwords, now)
    successor = Successor(view_of(migration.objects, class_name, secrets, now))
    retired = Retired(migration.ingresses, port_numbers(documents))
    secure = {
        listener.hostname
        for door in successor.plan.doors
        if door.port == _HTTPS
        for listener in door.listeners
    }
    samples = samples_of(migration.ingresses, secure)
    by_model = compare(samples, retired.outcome, successor.outcome, migration.losses)
    if not with_engine:
        return Proof(by_model, None, successor.findings)
    sent = [sample for sample in samples if _can_be_sent(sample, successor)]
    observed = asyncio.run(ask(successor.plan, sent))
    by_engine = compare(
        sent,
        lambda sample: _seen_from_outside(retired.outcome(sample)),
        lambda sample: _outcome(observed[sample], retired.outcome(sample)),
        migration.losses,
    )
    return Proof(by_model, by_engine, successor.findings)


def differences(proof: Proof) -> tuple[Difference, ...]:
    """What differs, once for each request: what a real HAProxy did counts more than what the model says."""
    found = {one.sample: one for one in proof.by_model.differences}
    if proof.by_engine is not None:
        found |= {one.sample: one for one in proof.by_engine.differences}
    return tuple(found.values())


def _can_be_sent(sample: Sample, successor: Successor) -> bool:
    """Not: from another address, to backends that speak HTTP/2 alone, to what is passed through, past a Service that is asked."""
    if sample.boundary is Boundary.CLIENT:
        return False
    said = successor.outcome(sample)
    if "passthrough" in said.terms or "HTTP/2" in said.terms:
        return False
    return not any(
        pool.protocol is not PoolProtocol.HTTP and f"{pool.service}:{pool.port}" in dict(said.backends)
        for pool in successor.plan.pools.values()
    )


def _seen_from_outside(outcome: Outcome) -> Outcome:
    """Without what one request cannot show."""
    return msgspec.structs.replace(outcome, terms=())


def _outcome(observed: Observed, expected: Outcome) -> Outcome:
    """What was observed, in the words of the expected: any backend that has a share is one as good as another."""
    seen = observed.seen
    if seen is None:
        status = observed.status
        # a backend's own 200 cannot be told from the gateway's without what it saw
        return Outcome(status=-1 if status == _OK else status, location=observed.location)
    backends = expected.backends if seen.backend in dict(expected.backends) else ((seen.backend, 1000),)
    wanted = [name for name, _ in expected.headers]
    return Outcome(
        backends=backends,
        path=seen.path.partition("?")[0],
        host=seen.headers.get("host", ""),
        headers=tuple((name, seen.headers[name]) for name in wanted if name in seen.headers),
    )

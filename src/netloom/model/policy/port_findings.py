"""Names of ports in policies that mean nothing, or two things, to a pod that the policy is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netloom.model.policy.reading.rules import PolicyReading, PortName
from netloom.model.policy.state import ChainKey, NamedPort, PolicyRef
from netloom.model.provenance import Finding, Source
from netloom.units import ObjectKey


def port_findings(
    readings: Mapping[PolicyRef, PolicyReading], users: Mapping[ChainKey, set[ObjectKey]]
) -> Iterator[Finding]:
    """For each use of such a name and each chain, with one of the pods under it."""
    for key, pods in users.items():
        doubtful = {PortName(p.name, p.protocol): p for p in key.ports if not p.ports or _is_double(p)}
        if not doubtful:
            continue
        for ref in key.policies:
            reading = readings[ref]
            for rule in reading.rules(key.direction) or ():
                for port in rule.ports or ():
                    if isinstance(port.port, PortName) and port.port in doubtful:
                        field = f"{port.field}.{_FIELDS[reading.ref.kind]}"
                        yield _finding(reading.source.at(field), doubtful[port.port], min(pods))


_FIELDS = {"NetworkPolicy": "port", "ClusterNetworkPolicy": "destinationNamedPort"}


def _is_double(port: NamedPort) -> bool:
    return len({one.protocol for one in port.ports}) < len(port.ports)


def _finding(source: Source, port: NamedPort, pod: ObjectKey) -> Finding:
    if port.ports:
        shown = " and ".join(map(str, port.ports))
        problem = f'"{port.name}" is the name of {shown} of Pod {pod}: the rule is about all of them'
        return Finding(source, problem, "give each port of a pod a name of its own")
    word = f" {port.protocol.value}" if port.protocol else ""
    problem = f'no container of Pod {pod} has a{word} port named "{port.name}": the rule does not match there'
    return Finding(source, problem, "name a port of its containers, or write a number")

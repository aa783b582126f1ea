"""The pods of this node that have addresses of their own.

Comes in: one Pod, the node's name. Goes out: its addresses, and Findings. Not here: two pods with one address
(``model/network.py`` decides), and handing addresses out (cni/ipam).
"""

from __future__ import annotations

import msgspec

from netloom.api.core import Namespace, Pod
from netloom.model.claims import Seniority, Standing, seniority
from netloom.model.egress.leaving import keeps_source
from netloom.model.provenance import Finding, source_of
from netloom.model.state import LocalPod
from netloom.units import Addr, parse_addr

_FINISHED = ("Succeeded", "Failed")


class PodBuild(msgspec.Struct, frozen=True):
    """What one Pod gives on one node."""

    addresses: tuple[LocalPod, ...] = ()
    findings: tuple[Finding, ...] = ()


def is_finished(pod: Pod) -> bool:
    """True where no container runs any more or ever will: its address may be given to another (core/v1 PodPhase)."""
    return pod.status.phase in _FINISHED


def given_addresses(pod: Pod) -> list[tuple[str, str]]:
    """Field and text of each address: ``status.podIPs``, or ``status.podIP`` where only that is set."""
    if pod.status.pod_ips:
        return [(f"status.podIPs[{i}].ip", given.ip) for i, given in enumerate(pod.status.pod_ips)]
    return [("status.podIP", pod.status.pod_ip)] if pod.status.pod_ip else []


def holder_rank(pod: Pod) -> Seniority:
    """The place of a pod among those that claim one address: the least holds it.

    A pod that is being deleted may say that it has an address long after another was given it, so it comes after all that stay.
    """
    is_leaving = pod.metadata.deletion_timestamp is not None
    return seniority(pod.metadata, Standing.GUEST if is_leaving else Standing.BY_RIGHT)


def local_addresses(pod: Pod, node: str, namespace: Namespace | None = None) -> PodBuild:
    """The addresses of a pod that runs on ``node`` in a network namespace of its own; none otherwise.

    ``namespace`` is the pod's, which may say something for all of its pods.
    """
    if pod.spec.node_name != node or pod.spec.host_network or is_finished(pod):
        return PodBuild()
    addresses: dict[Addr, LocalPod] = {}
    keeps, read = keeps_source(pod, namespace)
    findings = list(read)
    subject = source_of("Pod", pod.metadata)
    for field, text in given_addresses(pod):
        address = parse_addr(text)
        if address is None:
            hint = "the node that runs the pod reports it; look at its log"
            findings.append(Finding(subject.at(field), f'"{text}" is no IP address', hint))
        else:
            addresses[address] = LocalPod(address, pod.key, pod.metadata.uid, keeps)
    return PodBuild(tuple(addresses.values()), tuple(findings))

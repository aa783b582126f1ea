"""Which NetworkPolicies select the two ends.

Comes in: the two pods. Goes out: one step, or none. Policies are stored, but not enforced in this release: the step says so,
because a walk that kept silent would let a reader believe that they hold.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from netloom.api.core import Pod
from netloom.api.meta import LabelSelector
from netloom.api.selectors import from_selector
from netloom.model.provenance import Source, source_of
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.steps import Stage, Step


def policy_step(cluster: ClusterModel, sender: Pod | None, receiver: Pod | None, where: str) -> Step | None:
    """The policies that would have a say in this connection, were they enforced; None where there are none."""
    sources = [*_selecting(cluster, sender, "Egress"), *_selecting(cluster, receiver, "Ingress")]
    if not sources:
        return None
    count = "1 NetworkPolicy applies" if len(sources) == 1 else f"{len(sources)} NetworkPolicies apply"
    return Step(Stage.POLICY, where, f"{count}, but this release enforces none: let through", tuple(sources))


def _selecting(cluster: ClusterModel, pod: Pod | None, direction: str) -> Iterator[Source]:
    """The policies of a pod's namespace that select it for a direction.

    Without ``spec.policyTypes`` a policy is for Ingress (and for Egress if it has such rules, which are not read today).
    A pod in the node's network is selected by none (NetworkPolicySpec leaves it to the plugin; ours will not).
    """
    if pod is None or pod.spec.host_network:
        return
    for key in sorted(cluster.view.policies):
        policy = cluster.view.policies[key]
        spec = policy.spec if isinstance(policy.spec, dict) else {}
        types = spec.get("policyTypes") or ("Ingress",)
        if key.namespace != pod.metadata.namespace or direction not in types:
            continue
        selector = msgspec.convert(spec.get("podSelector") or {}, LabelSelector)
        if from_selector(selector).matches(pod.metadata.labels):
            field = f"spec.podSelector ({direction} of {pod.metadata.name})"
            yield source_of("NetworkPolicy", policy.metadata, field)

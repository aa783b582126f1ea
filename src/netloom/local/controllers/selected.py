"""Which pods a Service selects and which Services a pod belongs to, without looking at every pair. In: informers.

Selection is `spec.selector` of the Service against the pod's labels, within one namespace (core/v1 ServiceSpec).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from netloom.kube.resources import PODS, SERVICES
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Pod, Service
from netloom.units import ObjectKey


class Selected:
    """Pods of Services and Services of pods, over the shared caches."""

    def __init__(self, informers: Informers) -> None:
        self.pods = informers.of(PODS, Pod)
        self.services = informers.of(SERVICES, Service)
        self._pods_in = self.pods.index(lambda p: (p.metadata.namespace,))
        self._services_in = self.services.index(lambda s: (s.metadata.namespace,))

    def pods_of(self, service: Service) -> list[Pod]:
        """Pods that the Service selects; none where it has no selector."""
        selector = service.spec.selector
        if not selector:
            return []
        pairs = selector.items()
        return [
            p
            for p in self._pods_in.get(service.metadata.namespace, {}).values()
            if pairs <= p.metadata.labels.items()
        ]

    def services_of(self, pod: Pod) -> list[ObjectKey]:
        """Services that select the pod."""
        labels = pod.metadata.labels.items()
        return [
            key
            for key, s in self._services_in.get(pod.metadata.namespace, {}).items()
            if s.spec.selector and s.spec.selector.items() <= labels
        ]

    def follow_pods(self, mark: Callable[[ObjectKey], None]) -> None:
        """Mark the Services that a pod's change concerns: those of the pod before and after."""

        def changed(old: Pod | None, new: Pod | None) -> None:
            if old is not None and new is not None and _same_for_services(old, new):
                return
            for key in self._services_of_both(old, new):
                mark(key)

        self.pods.on_change(changed)

    def _services_of_both(self, old: Pod | None, new: Pod | None) -> Iterable[ObjectKey]:
        return dict.fromkeys(key for pod in (old, new) if pod is not None for key in self.services_of(pod))


def _same_for_services(old: Pod, new: Pod) -> bool:
    """Nothing changed that an endpoint shows; most pod updates are about containers and probes."""
    return _endpoint_view(old) == _endpoint_view(new)


def _endpoint_view(pod: Pod) -> tuple[object, ...]:
    return (
        pod.uid,
        pod.metadata.labels,
        pod.addresses,
        pod.is_ready,
        pod.is_finished,
        pod.is_terminating,
        pod.spec.node_name,
    )

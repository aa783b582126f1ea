"""Does the network do what Kubernetes promises? Asked of the pods themselves, with real packets.

In: a client of a cluster whose pods are stand-ins. Out: what each pod saw, judged. The questions: every pod reaches
every pod, and is seen there with its own address (no NAT); every Service answers by name and by address, from every
pod, with one of its own endpoints; a NodePort answers on every node; containers of a pod share localhost. All of it in each
family that the pod, the Service or the node has.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from netloom.api.core import Node, Pod, Service, ServicePort
from netloom.api.discovery import EndpointSlice
from netloom.errors import NetloomError
from netloom.kube.client import KubeClient
from netloom.kube.remote import Streams, run_in_pod
from netloom.local import probe
from netloom.units import ObjectKey

_PARALLEL = 4
_COMMAND = (os.path.realpath(sys.executable), "-I", "-S", "-c", inspect.getsource(probe))
"""The host's interpreter behind any virtual environment: that may lie where pods have a directory of their own."""


class Question(msgspec.Struct, frozen=True):
    """One thing that must hold, asked from one pod."""

    asks: str
    """``pod``, ``localhost``, ``service-name``, ``service-address`` or ``node-port``."""
    subject: str
    """What is asked for: the pod, or the Service's port."""
    host: str
    port: int
    protocol: str
    answerers: frozenset[str]
    """Pods (namespace/name) that may answer."""
    keeps_source: bool
    """The answering pod must see the asking pod's own address."""
    family: str = ""
    """``IPv4`` or ``IPv6`` where a name is to be looked up in one of several; empty: in any."""


class Seen(msgspec.Struct, frozen=True):
    """What a pod saw of one target (see ``probe.py``)."""

    reached: bool
    ms: float
    addresses: tuple[str, ...] = ()
    local: str = ""
    pod: str = ""
    peer: str = ""
    error: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """One question, one answer, and what is wrong with it; nothing where it is as it should be."""

    source: str
    question: Question
    seen: Seen
    wrong: str


class Subject(msgspec.Struct, frozen=True):
    """Everything of a cluster that the questions are made of."""

    pods: Sequence[Pod]
    services: Sequence[Service]
    slices: Sequence[EndpointSlice]
    nodes: Sequence[Node]
    domain: str = "cluster.local"


def questions(subject: Subject, source: Pod) -> Iterator[Question]:
    """What to ask from one pod. Pure."""
    for pod in subject.pods:
        yield from _pod_questions(source, pod)
    for service in subject.services:
        yield from _service_questions(subject, service)


def _pod_questions(source: Pod, pod: Pod) -> Iterator[Question]:
    me = frozenset((str(pod.key),))
    for container in pod.spec.containers:
        for port in container.ports:
            where = (port.container_port, port.protocol, me)
            for address in _addresses(pod):
                text = f"{pod.key}:{port.container_port}/{port.protocol}"
                yield Question("pod", text, address, *where, keeps_source=True)
                if pod.key == source.key:
                    text = f"{container.name}:{port.container_port}"
                    local = "::1" if ":" in address else "127.0.0.1"
                    yield Question("localhost", text, local, *where, keeps_source=False)


def _addresses(pod: Pod) -> tuple[str, ...]:
    return tuple(given.ip for given in pod.status.pod_ips) or (pod.status.pod_ip,)


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def _families(service: Service) -> tuple[str, ...]:
    """The families that a Service is served in; one empty word where it does not say."""
    given = (a for a in (*service.spec.cluster_ips, service.spec.cluster_ip) if a and a != "None")
    return tuple(service.spec.ip_families) or tuple(dict.fromkeys(map(_family, given))) or ("",)


def _service_questions(subject: Subject, service: Service) -> Iterator[Question]:
    target = _alias_of(subject, service) or service
    answerers = _answerers(subject.slices, target.key)
    if not answerers:
        return
    name = f"{service.key.name}.{service.key.namespace}"
    for port in target.spec.ports:
        label = f"{service.key}:{port.port}/{port.protocol}"
        number = _endpoint_port(subject.slices, target, port.name) if target.is_headless else port.port
        families = _families(target)
        for host in (name, f"{name}.svc.{subject.domain}"):
            for family in families if len(families) > 1 else ("",):
                asked = ("service-name", label, host, number, port.protocol, answerers)
                yield Question(*asked, keeps_source=False, family=family)
        if service.spec.cluster_ip and not service.is_headless:
            for host in service.spec.cluster_ips or (service.spec.cluster_ip,):
                asked = ("service-address", label, host, number, port.protocol, answerers)
                yield Question(*asked, keeps_source=False)
        if port.node_port and target is service:
            yield from _node_port_questions(subject, service, port, answerers)


def _node_port_questions(
    subject: Subject, service: Service, port: ServicePort, answerers: frozenset[str]
) -> Iterator[Question]:
    families = _families(service)
    for node in subject.nodes:
        label = f"{node.metadata.name}:{port.node_port}/{port.protocol} ({service.key})"
        for address in node.status.addresses:
            is_served = families == ("",) or _family(address.address) in families
            if address.type == "InternalIP" and is_served:
                host = address.address
                yield Question(
                    "node-port", label, host, port.node_port, port.protocol, answerers, keeps_source=False
                )


def _alias_of(subject: Subject, service: Service) -> Service | None:
    """The Service of this cluster that an ExternalName stands for."""
    names = {f"{s.key.name}.{s.key.namespace}.svc.{subject.domain}": s for s in subject.services}
    return names.get(service.spec.external_name) if service.spec.type == "ExternalName" else None


def _answerers(slices: Sequence[EndpointSlice], service: ObjectKey) -> frozenset[str]:
    endpoints = (e for s in slices if s.service == service for e in s.endpoints)
    refs = (e.target_ref for e in endpoints if e.is_ready and e.target_ref is not None)
    return frozenset(f"{r.namespace}/{r.name}" for r in refs if r.kind == "Pod")


def _endpoint_port(slices: Sequence[EndpointSlice], service: Service, port_name: str) -> int:
    """A headless Service has no port of its own: its endpoints' port counts."""
    ports = (
        p for s in slices if s.service == service.key for p in s.ports or () if (p.name or "") == port_name
    )
    return next((p.port for p in ports if p.port), 0)


def judge(source: Pod, question: Question, seen: Seen) -> Outcome:
    """What is wrong with an answer; nothing where it is as it should be. Pure."""
    wrong = ""
    if not seen.reached:
        wrong = seen.error or "no answer"
    elif seen.pod not in question.answerers:
        wrong = f"answered by {seen.pod}, which is none of its endpoints"
    elif question.keeps_source and (own := _of_family(question.host, source)) != _host(seen.peer):
        wrong = f"seen as {seen.peer} instead of {own}: address translated on the way"
    return Outcome(str(source.key), question, seen, wrong)


def _of_family(host: str, source: Pod) -> str:
    """The asking pod's address of the family that it asked in."""
    return next((a for a in _addresses(source) if _family(a) == _family(host)), source.status.pod_ip)


def _host(peer: str) -> str:
    return peer.rpartition(":")[0].strip("[]") if ":" in peer else peer


async def verify(client: KubeClient, subject: Subject) -> list[Outcome]:
    """Ask all questions from all pods.

    Raises:
        NetloomError: a pod could not be asked at all.
    """
    room = asyncio.Semaphore(_PARALLEL)

    async def one(source: Pod) -> list[Outcome]:
        async with room:
            asked = list(questions(subject, source))
            seen = await _ask(client, source.key, asked)
            return [judge(source, q, s) for q, s in zip(asked, seen, strict=True)]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(pod), name=f"verify from {pod.key}") for pod in subject.pods]
    return [outcome for task in tasks for outcome in task.result()]


async def _ask(client: KubeClient, pod: ObjectKey, asked: Sequence[Question]) -> list[Seen]:
    """Run the probe inside the pod, with the host's interpreter and nothing of netloom."""
    output, error = bytearray(), bytearray()
    targets = msgspec.json.encode(
        [{"host": q.host, "port": q.port, "protocol": q.protocol, "family": q.family} for q in asked]
    )
    streams = Streams(output=output.extend, error=error.extend, input=_once(targets))
    code = await run_in_pod(client, pod, _COMMAND, streams)
    if code != 0:
        last = error.decode(errors="replace").strip().rpartition("\n")[2]
        raise NetloomError(
            f"Pod {pod}: the probe ended with {code}: {last}", "see the logs in the cluster's directory"
        )
    return msgspec.json.decode(bytes(output), type=list[Seen])


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def summary(outcomes: Sequence[Outcome]) -> Mapping[str, Any]:
    """How many questions of each kind, and how many went wrong."""
    kinds: dict[str, dict[str, int]] = {}
    for outcome in outcomes:
        kind = kinds.setdefault(outcome.question.asks, {"asked": 0, "wrong": 0})
        kind["asked"] += 1
        kind["wrong"] += bool(outcome.wrong)
    return kinds

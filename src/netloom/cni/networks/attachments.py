"""A pod's further networks: attached behind its first interface, detached before it. What Multus does, in the agent.

In: the verbs' calls for the first interface. Out: interfaces ``net1``, ``net2`` ... that plugins made, or a CniError that names pod,
entry and NetworkAttachmentDefinition. Everything is recorded before it is done; a failure undoes what was done, last first, and DEL and
GC go by the record alone. A pod that asks for no network costs a look into a dictionary. Not here: what is asked for (``plans``),
calling plugins (``cni/delegate``), addresses of pools (``leases``).
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import logging
from collections.abc import Callable, Sequence

import msgspec

from netloom.api.core import Pod
from netloom.api.networks import DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION
from netloom.cni.attach import PodInterface
from netloom.cni.codes import CniError, Code, cni_error
from netloom.cni.delegate import DelegateFailed, Delegates, PodNetns
from netloom.cni.ipam.store import Attachment
from netloom.cni.networks import default_route, results
from netloom.cni.networks.default_route import DefaultRoute
from netloom.cni.networks.guard import PluginGuard
from netloom.cni.networks.leases import PoolLeases
from netloom.cni.networks.plans import Plan, Planner, Tell, tell_nobody
from netloom.cni.networks.publish import StatusPublisher
from netloom.cni.networks.record import NetworkEntry, NetworkRecord
from netloom.cni.networks.results import Attached
from netloom.cni.networks.status import NetworkStatus, annotation, status_of
from netloom.cni.request import CniRequest
from netloom.errors import NetloomError, Unavailable, Untrue
from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.program.links import Link
from netloom.units import Cidr, Family

log = logging.getLogger(__name__)

_ADD_S = 75.0
"""For all networks of a pod; our shim gives up after 110 s, and undoing takes time, too."""


class SecondaryNetworks:
    """Further networks of the pods of one node.

    Args:
        pods: a pod of this node by namespace/name, or None.
        planner: what a pod's annotations mean.
        delegates: the plugins.
        record: what was done.
        guard: keeps plugins of an earlier agent and ours apart.
        leases: addresses of pools.
        publisher: writes what a pod got into the pod; None: nobody is told.
        keep: ranges that stay reachable through the first interface when the default route goes elsewhere.
        tell: says something about a pod; None: nobody is told.
    """

    def __init__(  # noqa: PLR0913 - the seams to the agent, by keyword
        self,
        *,
        pods: Callable[[str], Pod | None],
        planner: Planner,
        delegates: Delegates,
        record: NetworkRecord,
        guard: PluginGuard,
        leases: PoolLeases,
        publisher: StatusPublisher | None = None,
        keep: Sequence[Cidr] = (),
        tell: Tell | None = None,
    ) -> None:
        self._pods = pods
        self._planner = planner
        self._delegates = delegates
        self._record = record
        self._guard = guard
        self._leases = leases
        self._publisher = publisher
        self._keep = tuple(keep)
        self._tell = tell or tell_nobody

    # --- what the verbs call

    async def add(self, request: CniRequest, netns_fd: int, made: PodInterface) -> None:
        """Attach what the pod asks for; all or nothing.

        Raises:
            CniError: with the number and the words of the plugin that failed, or of ours.
        """
        pod = self._pods(request.pod) if request.pod else None
        asked, instead = _annotations(pod)
        if not asked and not instead and request.attachment not in self._record:
            return
        plans: list[Plan] = []
        if pod is not None:
            plans = await self._planner.plans(pod, asked, instead, first=request.attachment)
        inside = PodNetns.of(request.netns_path, netns_fd)
        async with self._guard.held(request.attachment) as guard_fd:
            if (
                request.attachment in self._record
            ):  # an ADD that died, or that is repeated: from the beginning
                await self._undo(request.attachment, inside, guard_fd)
            if not plans or pod is None:
                return
            try:
                statuses = await self._attach_in_time(pod, plans, request, inside, made, guard_fd)
            except BaseException:
                await asyncio.shield(self._undo_quietly(request.attachment, inside, guard_fd))
                raise
        if self._publisher is not None:
            await self._publisher.publish(pod.key, pod.metadata.uid, annotation(statuses))

    async def delete(self, request: CniRequest, netns_fd: int | None) -> None:
        """Detach what was attached, last first. All is tried; may be repeated.

        Raises:
            CniError: something may be left; the runtime tries again.
        """
        if request.attachment not in self._record:
            return
        inside = PodNetns.of(request.netns_path, netns_fd)
        async with self._guard.held(request.attachment) as guard_fd:
            await self._undo(request.attachment, inside, guard_fd)

    async def check(self, request: CniRequest, netns_fd: int) -> None:
        """Pass where everything is as it was left.

        Raises:
            CniError: it is not; with the plugin's number and words.
        """
        if request.attachment not in self._record:
            return
        inside = PodNetns.of(request.netns_path, netns_fd)
        routes: list[DefaultRoute] = []
        for _, entry in await _on_thread(lambda: self._record.entries(request.attachment)):
            if entry.result is None:
                raise _named(Untrue("it was never attached to the end", "delete the pod"), entry)
            try:
                await self._delegates.check(entry.call, inside, entry.result)
            except NetloomError as error:
                raise _named(error, entry) from error
            routes += _routes(entry)
        wrong = await _on_thread(lambda: default_route.defects(netns_fd, routes)) if routes else []
        if wrong:
            raise Untrue(f"attachment {request.attachment}: {'; '.join(wrong)}", "delete the pod")

    async def collect(self, network: str, valid: frozenset[Attachment]) -> None:
        """Detach what belongs to pods that a runtime does not know any more.

        Args:
            network: name of the runtime's network configuration; what came with another one stays.
            valid: attachments that stay.

        Raises:
            CniError: the first failure; something is left.
        """
        failed: list[NetloomError] = []
        for attachment in self._record.attachments():
            if attachment in valid:
                continue
            try:
                async with self._guard.held(attachment) as guard_fd:
                    entries = await _on_thread(functools.partial(self._record.entries, attachment))
                    if any(entry.primary == network for _, entry in entries):
                        await self._undo(attachment, PodNetns(), guard_fd)
            except NetloomError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def moved_families(self, attachment: Attachment) -> frozenset[Family]:
        """Families whose default route of a pod does not go through its first interface. Reads the record."""
        if attachment not in self._record:
            return frozenset()
        entries = self._record.entries(attachment)
        return frozenset(route.family for _, entry in entries for route in _routes(entry))

    # --- doing and undoing

    async def _attach_in_time(
        self,
        pod: Pod,
        plans: Sequence[Plan],
        request: CniRequest,
        inside: PodNetns,
        made: PodInterface,
        guard_fd: int,
    ) -> list[NetworkStatus]:
        """Before the runtime gives up, so that it hears why."""
        try:
            async with asyncio.timeout(_ADD_S):
                return await self._attach_all(pod, plans, request, inside, made, guard_fd)
        except TimeoutError as error:
            raise Unavailable(
                f"Pod {pod.key}: its {len(plans)} networks were not attached within {_ADD_S:.0f} s",
                "look which plugin is slow, and try again",
            ) from error

    async def _attach_all(
        self,
        pod: Pod,
        plans: Sequence[Plan],
        request: CniRequest,
        inside: PodNetns,
        made: PodInterface,
        guard_fd: int,
    ) -> list[NetworkStatus]:
        done: list[tuple[Plan, Attached]] = []
        moved: list[DefaultRoute] = []
        for plan in plans:
            entry = NetworkEntry(
                plan.call, str(pod.key), str(plan.selection.network), plan.selection.where, request.network
            )
            try:
                attached, routes = await self._attach(request.attachment, entry, plan, inside, guard_fd)
                default_route.check_one_of_each([*moved, *routes], pod=entry.pod)
            except NetloomError as error:
                self._tell(pod, "NetworkNotAttached", f"{plan.selection.where}: {error}", True)
                raise _named(error, entry) from error
            done.append((plan, attached))
            moved += routes
        if moved and inside.fd is not None:
            await self._move(pod, inside.fd, made, moved)
        statuses = [_status_of_first(request, made, moved)]
        for plan, attached in done:
            link = None if inside.fd is None else await _on_thread(functools.partial(_link, inside.fd, plan))
            statuses.append(_status(plan, attached, moved, link))
            self._tell(pod, "AddedInterface", _added(plan, attached), False)
        return statuses

    async def _move(self, pod: Pod, fd: int, made: PodInterface, routes: Sequence[DefaultRoute]) -> None:
        try:
            await _on_thread(lambda: default_route.move(fd, made, routes, self._keep))
        except NetloomError as error:
            known = cni_error(error)
            where = ", ".join(f"default-route {route.via} through {route.interface}" for route in routes)
            raise CniError(known.code, f"Pod {pod.key}: {where}: {known.problem}", known.hint) from error

    async def _attach(
        self, first: Attachment, entry: NetworkEntry, plan: Plan, inside: PodNetns, guard_fd: int
    ) -> tuple[Attached, tuple[DefaultRoute, ...]]:
        place = await _on_thread(lambda: self._record.begin(first, entry))
        result = await self._delegates.add(plan.call, inside, guard_fd=guard_fd)
        attached = results.read(result, plugin=plan.call.network.plugins[-1]["type"])
        routes = default_route.wanted(plan.selection, attached, pod=entry.pod)
        known = msgspec.structs.replace(
            entry, result=result, default_routes=tuple((r.interface, str(r.via)) for r in routes)
        )
        await _on_thread(lambda: self._record.note(first, place, known))
        return attached, routes

    async def _undo(self, first: Attachment, inside: PodNetns, guard_fd: int) -> None:
        """Undo all that is recorded, last first; what fails stays recorded. The first failure is raised when all was tried."""
        failed: list[CniError] = []
        entries = await _on_thread(lambda: self._record.entries(first))
        for place, entry in reversed(entries):
            try:
                await self._delete_one(entry, inside, guard_fd)
                # a plugin that was killed has not told its IPAM
                await self._leases.release(entry.call.attachment)
                await _on_thread(functools.partial(self._record.forget, first, place))
            except NetloomError as error:
                failed.append(_named(error, entry))
        if failed:
            raise failed[0]

    async def _delete_one(self, entry: NetworkEntry, inside: PodNetns, guard_fd: int) -> None:
        """DEL of one network.

        A plugin that cannot read its configuration fails at DEL as it did at ADD, and would keep the pod from ever going. So where
        ADD never succeeded and there is no interface, its failure is only told, unless it says that trying again may help.
        """
        try:
            await self._delegates.delete(entry.call, inside, entry.result, guard_fd=guard_fd)
        except DelegateFailed as error:
            if entry.result is not None or error.code == Code.TRY_AGAIN_LATER:
                raise
            name, fd = entry.call.attachment.interface, inside.fd
            if fd is not None and await _on_thread(lambda: _has_link(fd, name)):
                raise
            log.warning("%s", _named(error, entry))

    async def _undo_quietly(self, first: Attachment, inside: PodNetns, guard_fd: int) -> None:
        try:
            await self._undo(first, inside, guard_fd)
        except NetloomError as error:
            log.warning("attachment %s: left until DEL: %s", first, error)


_on_thread = functools.partial(netns.run_in_async, None)


def _has_link(netns_fd: int, name: str) -> bool:
    with Rtnl(netns_fd) as pod:
        return pod.find_link(name) is not None


def _link(netns_fd: int, plan: Plan) -> Link | None:
    with Rtnl(netns_fd) as pod:
        return pod.find_link(plan.selection.interface)


def _routes(entry: NetworkEntry) -> list[DefaultRoute]:
    return [DefaultRoute(name, ipaddress.ip_address(via)) for name, via in entry.default_routes]


def _annotations(pod: Pod | None) -> tuple[str, str]:
    if pod is None:
        return "", ""
    said = pod.metadata.annotations
    return said.get(NETWORKS_ANNOTATION, "").strip(), said.get(DEFAULT_NETWORK_ANNOTATION, "").strip()


def _named(error: NetloomError, entry: NetworkEntry) -> CniError:
    known = cni_error(error)
    where = f"Pod {entry.pod}: {entry.where}: NetworkAttachmentDefinition {entry.network}"
    return CniError(known.code, f"{where}: {known.problem}", known.hint)


def _status_of_first(request: CniRequest, made: PodInterface, moved: Sequence[DefaultRoute]) -> NetworkStatus:
    gone = {route.family for route in moved}
    gateways = [r for r in made.pod_routes() if not r.destination.prefixlen and r.family not in gone]
    return NetworkStatus(
        name=request.network,
        interface=made.interface,
        ips=tuple(map(str, made.addresses)),
        mac=made.mac,
        mtu=made.mtu,
        # the standard means by this the cluster's default network, wherever the default route goes
        is_default=True,
        gateways=tuple(str(r.via) for r in gateways if r.via is not None),
    )


def _status(
    plan: Plan, attached: Attached, moved: Sequence[DefaultRoute], link: Link | None
) -> NetworkStatus:
    own = tuple(str(route.via) for route in moved if route.interface == plan.selection.interface)
    return status_of(str(plan.selection.network), plan.selection.interface, attached, gateways=own, link=link)


def _added(plan: Plan, attached: Attached) -> str:
    addresses = ", ".join(str(one.address) for one in attached.addresses)
    return f"Add {plan.selection.interface} [{addresses}] from {plan.selection.network}"

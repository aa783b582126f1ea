"""What runs in a local cluster, and what each process is told: configuration files, and the children of process 1.

In: settings, paths, the nodes' namespaces, listening sockets. Out: `Child` values. All imports are made here and now, in
the warm process, so that no child pays for them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from netloom.agent import main as agent
from netloom.agent.config import AgentConfig
from netloom.agent.networks import NetworkSettings
from netloom.announce import main as speaker
from netloom.announce.config import SpeakerConfig
from netloom.clock import Clock
from netloom.dns import main as dns
from netloom.dns import sockets as dns_sockets
from netloom.dns.main import DnsConfig
from netloom.dns.sockets import Sockets
from netloom.fabric.udp import main as udp
from netloom.fabric.udp.main import UdpConfig
from netloom.gateway import main as gateway
from netloom.gateway.config import GatewayConfig
from netloom.linux import netns
from netloom.local import control_plane, switch
from netloom.local.init import Child
from netloom.local.outside import main as outside_main
from netloom.local.outside.main import Opened, OutsideConfig
from netloom.local.paths import ClusterPaths, NodePaths, images_home
from netloom.local.plugins import plugin_dir
from netloom.local.preflight import shim_path
from netloom.local.runner import main as runner
from netloom.local.runner.config import RunnerConfig
from netloom.local.runner.standins import process as standins
from netloom.local.settings import ClusterSettings
from netloom.local.underlay import NODE_DEVICE, NodeRoom
from netloom.model.routes.ways import FabricKind


class OutsideRoom(msgspec.Struct, frozen=True):
    """The client outside, and what is published by it."""

    netns: int
    opened: Opened


class Machine(msgspec.Struct, frozen=True):
    """A node that is on: its namespace, its processes, and what process 1 keeps open for them."""

    room: NodeRoom
    children: tuple[Child, ...]
    sockets: Sockets
    """Of its DNS server."""

    def close(self) -> None:
        """Let go of them; the namespace goes with the last process that has it."""
        self.sockets.close()
        with contextlib.suppress(OSError):  # closed already
            os.close(self.room.netns)


def children_of(
    *,
    paths: ClusterPaths,
    settings: ClusterSettings,
    machines: Sequence[Machine],
    listeners: control_plane.Listeners,
    clock: Clock,
    outside: OutsideRoom | None = None,
) -> tuple[Child, ...]:
    """Everything that process 1 keeps running, the API server first."""
    children = [
        Child("apiserver", functools.partial(control_plane.serve_api, paths, settings, listeners, clock)),
        Child("controllers", functools.partial(control_plane.serve_controllers, paths, settings)),
    ]
    if outside is not None:
        children.append(_client(paths, settings, outside))
    if switch.is_wanted(settings):
        shutil.rmtree(paths.switch, ignore_errors=True)  # what peers and kernel had in a former run is gone
        children.append(Child("switch", functools.partial(switch.serve, settings, paths.switch)))
    for machine in machines:
        children += machine.children
    return tuple(children)


def machine_of(paths: ClusterPaths, settings: ClusterSettings, room: NodeRoom) -> Machine:
    """Everything that process 1 keeps running for a node, with its configuration written."""
    files = paths.node(room.name)
    dns_config = _dns_config(files, settings)
    # Opened here and closed when the node is switched off: queries that come while one DNS process follows another wait for the next.
    sockets = netns.run_in(
        room.netns, functools.partial(dns_sockets.open_sockets, dns_config.listen, dns_config.port)
    )
    children = (*_node(paths, settings, room), _dns(files, room, dns_config, sockets))
    return Machine(
        room, tuple(msgspec.structs.replace(child, machine=room.name) for child in children), sockets
    )


def _client(paths: ClusterPaths, settings: ClusterSettings, room: OutsideRoom) -> Child:
    config = OutsideConfig(
        socket=str(paths.outside_socket),
        api_socket=str(paths.part_sockets["client"]),
        resolvers=tuple(map(str, settings.gateways)),
        hidden_dirs=(str(paths.root.parent),),
    )
    _write(paths.outside_config, config)
    return Child("client", functools.partial(outside_main.run, config, room.opened), room.netns)


def _node(paths: ClusterPaths, settings: ClusterSettings, room: NodeRoom) -> Iterator[Child]:
    files = paths.node(room.name)
    agent_config = _agent_config(files, settings, room)
    _write(files.agent_config, agent_config)
    _write(files.runner_config, _runner_config(paths, files, settings, room))
    yield Child(f"{room.name}-agent", functools.partial(_exit_code, agent.run, agent_config), room.netns)
    if settings.fabric is FabricKind.UDP:
        udp_config = UdpConfig(feed_socket=str(files.udp_socket))
        _write(files.udp_config, udp_config)
        yield Child(f"{room.name}-udp", functools.partial(_exit_code, udp.run, udp_config), room.netns)
    speaker_config = _speaker_config(files, settings, room)
    _write(files.speaker_config, speaker_config)
    shutil.rmtree(files.bgp, ignore_errors=True)
    yield Child(
        f"{room.name}-speaker", functools.partial(_exit_code, speaker.run, speaker_config), room.netns
    )
    gateway_config = _gateway_config(files, room)
    _write(files.gateway_config, gateway_config)
    yield Child(
        f"{room.name}-gateway", functools.partial(_exit_code, gateway.run, gateway_config), room.netns
    )
    runner_config = str(files.runner_config)
    yield Child(f"{room.name}-standins", functools.partial(standins.main, runner_config), room.netns)
    yield Child(f"{room.name}-runner", functools.partial(runner.main, runner_config), room.netns)


def _dns(files: NodePaths, room: NodeRoom, config: DnsConfig, sockets: Sockets) -> Child:
    _write(files.dns_config, config)
    return Child(f"{room.name}-dns", functools.partial(_exit_code, dns.run, config, sockets), room.netns)


def _exit_code(run: object, *arguments: object) -> None:
    code = run(*arguments)  # type: ignore[operator] # one of the processes that say their exit code
    if code:
        raise SystemExit(code)


def _agent_config(files: NodePaths, settings: ClusterSettings, room: NodeRoom) -> AgentConfig:
    return AgentConfig(
        node=room.name,
        kubeconfig=str(files.credentials("agent")),
        cluster_cidrs=settings.pod_cidrs,
        service_cidrs=settings.service_cidrs,
        dns_addresses=tuple(map(str, settings.dns_addresses)),
        cluster_domain=settings.cluster_domain,
        node_port_range=settings.node_port_range,
        cni_socket=str(files.cni_socket),
        dns_feed_socket=str(files.dns_socket),
        udp_feed_socket=str(files.udp_socket),
        speaker_socket=str(files.speaker_socket),
        address_store=str(files.ipam),
        networks=NetworkSettings(
            plugin_dirs=(str(plugin_dir(files.root / "bin", shim_path())), *NetworkSettings().plugin_dirs),
            plugin_state=str(files.root / "plugins"),
        ),
        fabric=settings.fabric,
        direct=settings.direct,
        tunnel_port=settings.tunnel_port,
        vni=settings.vni,
        stretched=settings.stretched,
    )


def _speaker_config(files: NodePaths, settings: ClusterSettings, room: NodeRoom) -> SpeakerConfig:
    return SpeakerConfig(
        node=room.name,
        kubeconfig=str(files.credentials("speaker")),
        socket=str(files.speaker_socket),
        cluster_cidrs=settings.pod_cidrs,
        service_cidrs=settings.service_cidrs,
        directory=str(files.bgp),
        fabric=settings.fabric,
    )


def _gateway_config(files: NodePaths, room: NodeRoom) -> GatewayConfig:
    return GatewayConfig(
        node=room.name,
        kubeconfig=str(files.credentials("gateway")),
        addresses=tuple(map(str, room.place.addresses)),
        directory=str(files.gateway_directory),
        socket=str(files.gateway_socket),
    )


def _dns_config(files: NodePaths, settings: ClusterSettings) -> DnsConfig:
    return DnsConfig(
        listen=tuple(map(str, settings.dns_addresses)),
        feed_socket=str(files.dns_socket),
        cluster_domain=settings.cluster_domain,
        node_resolvers=(str(settings.gateway),),
        corefile=settings.corefile,
    )


def _runner_config(
    paths: ClusterPaths, files: NodePaths, settings: ClusterSettings, room: NodeRoom
) -> RunnerConfig:
    return RunnerConfig(
        node_name=room.name,
        node_addresses=tuple(map(str, room.place.addresses)),
        node_device=NODE_DEVICE,
        kubeconfig=str(files.kubeconfig),
        state_dir=str(files.root),
        shared_dir=str(paths.root / "volumes"),
        images_dir=str(images_home()),
        stand_ins=settings.stand_ins,
        cni_shim=str(shim_path()),
        cni_socket=str(files.cni_socket),
        runner_socket=str(files.runner_socket),
        standin_socket=str(files.standin_socket),
        cluster_domain=settings.cluster_domain,
        dns_addresses=tuple(map(str, settings.dns_addresses)),
        upstream_dns_addresses=tuple(map(str, settings.gateways)),
        hidden_dirs=(str(paths.root.parent),),
        labels=settings.node_labels(room.name),
        node_grace_s=settings.silence_s,
    )


def _write(path: Path, config: msgspec.Struct) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(config), indent=2))

"""What all pods of a node share: values and doors to the rooms around them. Wiring only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from netloom.api.core import Service
from netloom.clock import Clock
from netloom.kube.client import KubeClient
from netloom.local.runner.addresses import NodeAddresses
from netloom.local.runner.cni_client import CniClient
from netloom.local.runner.config import RunnerConfig
from netloom.local.runner.events import Events
from netloom.local.runner.podfiles import Dns
from netloom.local.runner.records import Records
from netloom.local.runner.running import Runtime
from netloom.local.runner.standins.client import StandIns
from netloom.local.runner.volumes.podvolumes import VolumeTools


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """What all pods of a node share."""

    config: RunnerConfig
    client: KubeClient
    clock: Clock
    cni: CniClient
    records: Records
    standins: StandIns
    events: Events
    services: Callable[[str], Sequence[Service]]
    """The Services of a namespace."""
    addresses: NodeAddresses
    """Of the node."""
    runtime: Runtime
    """Runs containers of images."""
    volumes: VolumeTools
    starts: asyncio.Semaphore
    """Room for sandboxes that are being made."""

    @property
    def dns(self) -> Dns:
        """Where pods ask for names."""
        c = self.config
        return Dns(c.cluster_domain, c.dns_addresses, c.upstream_dns_addresses)

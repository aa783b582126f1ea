"""Connections of an address that is gone: ended, and no others."""

import asyncio
import ipaddress
import socket

import pytest

from netloom.linux import rtmsg
from netloom.linux.netlink import NETLINK_ROUTE, NetlinkSocket
from netloom.linux.netns import new_netns, run_in
from netloom.linux.rtnl import Rtnl
from netloom.linux.sock_diag import end_connections_from

pytestmark = pytest.mark.netns


@pytest.mark.parametrize(("gone", "stays"), [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")])
async def test_who_reads_from_a_connection_of_a_gone_address_is_told_and_others_are_not(gone, stays):
    netns = new_netns()
    routes = NetlinkSocket(NETLINK_ROUTE, netns_fd=netns, groups=(rtmsg.RTNLGRP_IPV6_ROUTE,))
    with Rtnl(netns) as rtnl, routes:
        rtnl.set_up("lo")
        missing = {ipaddress.ip_address(text) for text in (gone, stays)}
        for address in missing:
            rtnl.add_address("lo", ipaddress.ip_interface(address))
        while ":" in gone and missing:  # the kernel sees to its own IPv6 addresses a little later
            missing -= {rtmsg.became_local(message) for message in routes.receive()}
    family = socket.AF_INET6 if ":" in gone else socket.AF_INET

    def connect():
        server = socket.create_server((stays, 0), family=family)
        made = []
        for source in (gone, stays):
            client = socket.socket(family)
            client.bind((source, 0))
            client.connect(server.getsockname())
            client.setblocking(False)
            made.append(client)
        return server, made

    server, (lost, kept) = run_in(netns, connect)
    loop = asyncio.get_running_loop()
    reading = loop.create_task(loop.sock_recv(lost, 1))
    await asyncio.sleep(0)
    assert run_in(netns, lambda: end_connections_from(ipaddress.ip_address(gone))) == 1
    with pytest.raises(ConnectionAbortedError):
        await reading
    accepted = {address[0]: connection for connection, address in (server.accept() for _ in range(2))}
    accepted[stays].send(b"x")
    assert await loop.sock_recv(kept, 1) == b"x"
    assert run_in(netns, lambda: end_connections_from(ipaddress.ip_address(gone))) == 0
    for made in (server, lost, kept, *accepted.values()):
        made.close()

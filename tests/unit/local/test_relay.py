"""The DNS relay on loopback: messages pass unchanged, and a resolver that is silent does not stop the next."""

import asyncio
import errno
import select
import socket
import threading

import pytest

from netloom.local import relay as relay_module
from netloom.local.relay import DnsRelay, host_resolvers


def bound(kind):
    made = socket.socket(socket.AF_INET, kind)
    made.bind(("127.0.0.1", 0))
    if kind is socket.SOCK_STREAM:
        made.listen()
    return made


@pytest.fixture
def resolver():
    """Answers each datagram with its id and `answer`, once; and streams with the same."""
    udp, tcp = bound(socket.SOCK_DGRAM), bound(socket.SOCK_STREAM)
    udp.settimeout(5)
    tcp.settimeout(5)

    def answer_datagram():
        if not select.select([udp, over], [], [], 5)[0] or over in select.select([over], [], [], 0)[0]:
            return
        message, client = udp.recvfrom(512)
        udp.sendto(b"??stale", client)
        udp.sendto(message[:2] + b"answer", client)

    def answer_stream():
        if not select.select([tcp, over], [], [], 5)[0] or over in select.select([over], [], [], 0)[0]:
            return
        connection, _ = tcp.accept()
        with connection:
            connection.sendall(connection.recv(512)[:2] + b"answer")

    over, end = socket.socketpair()
    threads = [threading.Thread(target=t, daemon=True) for t in (answer_datagram, answer_stream)]
    for thread in threads:
        thread.start()
    with udp, tcp, over, end:
        yield udp.getsockname(), tcp.getsockname()
        end.send(b"over")
        for thread in threads:
            thread.join()


async def running(upstreams, ask):
    udp, tcp = bound(socket.SOCK_DGRAM), bound(socket.SOCK_STREAM)
    relay = DnsRelay(udp=udp, tcp=tcp, upstreams=lambda: upstreams)
    where = udp.getsockname(), tcp.getsockname()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(relay.run())
        answer = await ask(*where)
        task.cancel()
    udp.close()
    return answer


async def ask_by_datagram(udp, _):
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        await loop.sock_sendto(client, b"IDquestion", udp)
        return await loop.sock_recv(client, 512)


async def ask_by_stream(_, tcp):
    reader, writer = await asyncio.open_connection(*tcp)
    writer.write(b"IDquestion")
    answer = await reader.read(512)
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_datagram_passes_and_an_answer_to_something_else_does_not(resolver):
    assert await running([resolver[0]], ask_by_datagram) == b"IDanswer"


async def test_a_silent_resolver_does_not_stop_the_next(resolver, monkeypatch):
    monkeypatch.setattr(relay_module, "TRY_S", 0.05)
    with bound(socket.SOCK_DGRAM) as silent:
        assert await running([silent.getsockname(), resolver[0]], ask_by_datagram) == b"IDanswer"


async def test_a_stream_passes(resolver):
    assert await running([resolver[1]], ask_by_stream) == b"IDanswer"


async def test_an_end_that_can_be_told_to_nobody_any_more_is_none_the_less_one():
    class Gone:
        def can_write_eof(self):
            return True

        def write_eof(self):
            raise OSError(errno.ENOTCONN, "not connected")

    reader = asyncio.StreamReader()
    reader.feed_eof()
    await relay_module.carry(reader, Gone())


def test_resolv_conf_gives_three_resolvers_at_most(tmp_path):
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# nameserver 192.0.2.9\nsearch example.org\n"
        + "".join(f"nameserver 192.0.2.{i}\n" for i in range(1, 6))
    )
    assert host_resolvers(path) == (("192.0.2.1", 53), ("192.0.2.2", 53), ("192.0.2.3", 53))
    assert host_resolvers(tmp_path / "none") == ()

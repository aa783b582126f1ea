"""DNS over TLS to upstream servers: who must be who it says, one connection for many, another one where it ends."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from netloom.dns.cache import Question
from netloom.dns.exchange import Failed
from netloom.dns.servers import Server
from netloom.dns.tls import TlsPool
from netloom.dns.wire import encode_name
from netloom.testing.dns_messages import read_reply
from netloom.testing.dns_upstream import ScriptedUpstream

WWW = "www.example.org."
GOOD = {(WWW, "A"): [f"{WWW} 300 A 192.0.2.1"]}


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """A self-signed certificate for dns.example and 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dns.example")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("dns.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


class TlsServer:
    """Answers over TLS; counts connections; ``turn`` may reorder, and ``drops`` closes after an answer."""

    def __init__(self):
        self.scripted = ScriptedUpstream(GOOD)
        self.connections = 0
        self.batch = 1
        self.drops = False
        self.says = None
        self.hangs_up = False

    async def serve(self, reader, writer):
        self.connections += 1
        held = []
        try:
            while True:
                if self.hangs_up:
                    return
                query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                held.append(self.says(query) if self.says else self.scripted.reply(query))
                if len(held) < self.batch:
                    continue
                for reply in reversed(held):
                    writer.write(len(reply).to_bytes(2, "big") + reply)
                held.clear()
                await writer.drain()
                if self.drops:
                    return
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def served(identity, name="dns.example", *, trusted=True):
    server = TlsServer()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    place = Server("127.0.0.1", listener.sockets[0].getsockname()[1], tls=True, name=name)
    pool = TlsPool(ssl.create_default_context(cafile=str(identity)) if trusted else None)
    try:
        yield server, pool, place
    finally:
        pool.close()
        listener.close()
        await listener.wait_closed()


def question(name=WWW, kind=1):
    return Question(encode_name(name), kind)


@pytest.mark.parametrize("name", ["dns.example", ""])
async def test_many_questions_share_a_connection_and_answers_come_in_any_order(identity, name):
    async with served(identity, name) as (server, pool, place):
        server.batch = 3
        names = [WWW, "a.example.org.", "b.example.org."]
        answers = await asyncio.gather(*(pool.exchange(question(one), place) for one in names))
        replies = [read_reply(answer) for answer in answers]
        assert [reply.question.split(" ")[0] for reply in replies] == names
        assert [reply.rcode for reply in replies] == ["NOERROR", "NXDOMAIN", "NXDOMAIN"]
        assert server.connections == 1


async def test_nothing_is_sent_to_who_is_not_who_it_should_be(identity):
    async with served(identity, "other.example") as (server, pool, place):
        with pytest.raises(Failed, match="Hostname mismatch"):
            await pool.exchange(question(), place)
        assert server.scripted.asked == []
    async with served(identity, trusted=False) as (server, pool, place):
        with pytest.raises(Failed, match="self-signed"):
            await pool.exchange(question(), place)


async def test_a_connection_that_was_closed_while_idle_is_made_anew(identity):
    async with served(identity) as (server, pool, place):
        server.drops = True
        for _ in range(3):
            assert read_reply(await pool.exchange(question(), place)).rcode == "NOERROR"
        assert server.connections == 3


async def test_a_server_that_ends_at_once_fails(identity):
    async with served(identity) as (server, pool, place):
        server.hangs_up = True
        with pytest.raises(Failed, match="closed the connection"):
            await pool.exchange(question(), place)


async def test_an_answer_to_something_else_ends_the_connection(identity):
    async with served(identity) as (server, pool, place):
        server.says = lambda query: server.scripted.reply(query).replace(b"\3www", b"\3wwx")
        with pytest.raises(Failed, match="closed the connection"):
            await pool.exchange(question(), place)


async def test_a_server_that_cannot_help_says_so(identity):
    async with served(identity) as (server, pool, place):
        server.says = lambda query: query[:2] + b"\x81\x85" + query[4:6] + bytes(6) + query[12:-11]
        with pytest.raises(Failed, match="REFUSED") as failed:
            await pool.exchange(question(), place)
        assert failed.value.answered

"""Configuration of the DNS process: what is wrong is one clear line and an exit code."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import pytest

import netloom.dns
from netloom.dns.main import DnsConfig, main, serve
from netloom.dns.servers import parse_server
from netloom.errors import UsageError


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"listen": ["10.96.0.10"]}', "feed_socket"),
        ('{"listen": ["10.96.0.10"], "feed_socket": "/x", "listne": 1}', "listne"),
        ("listen: x", "JSON is malformed"),
        ('{"listen": ["dns.example.org"], "feed_socket": "/x"}', "'dns.example.org' is no address"),
        ('{"listen": [], "feed_socket": "/x"}', "no address"),
        (
            '{"listen": ["10.96.0.10"], "feed_socket": "/x", "outside": {"upstreams": ["a:b"]}}',
            "upstream 'a:b'",
        ),
    ],
)
def test_a_wrong_configuration(tmp_path, caplog, text, problem):
    path = tmp_path / "dns.json"
    path.write_text(text)
    with caplog.at_level(logging.ERROR):
        assert main([str(path)]) == 2
    assert problem in caplog.text
    assert "Traceback" not in caplog.text


def test_no_configuration_at_all(tmp_path, caplog):
    assert main([]) == 2
    assert main([str(tmp_path / "none.json")]) == 2
    assert "No such file" in caplog.text


def test_the_example_of_the_readme_is_a_configuration():
    readme = Path(netloom.dns.__file__).with_name("README.md").read_text()
    example = readme.partition("```json\n")[2].partition("```")[0]
    config = msgspec.json.decode(example, type=DnsConfig)
    assert [parse_server(text).port for text in config.outside.upstreams] == [53, 853]


async def test_errors_come_out_as_they_are(tmp_path):
    with pytest.raises(UsageError):
        await serve(DnsConfig(listen=("nowhere",), feed_socket=str(tmp_path / "dns.sock")))
    assert not (tmp_path / "dns.sock").exists()

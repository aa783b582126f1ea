from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest

from netloom.local.runner.cni_client import Attachment, CniClient, CniFailed
from netloom.local.runner.interface import attach, detach
from netloom.local.runner.records import SandboxRecord

ONE = Attachment("c1", "/proc/7/ns/net", "shop", "web-1", "u-1")
ADDED = {
    "cniVersion": "1.1.0",
    "ips": [{"address": "10.244.1.5/32"}, {"address": "2001:db8::5/128"}],
    "dns": {},
}
_PLUGIN = f"""#!{sys.executable} -IS
import json, os, sys
here = os.path.dirname(sys.argv[0])
with open(here + "/calls", "a") as file:
    env = {{k: v for k, v in os.environ.items() if k.startswith(("CNI_", "NETLOOM_"))}}
    file.write(json.dumps([env, json.load(sys.stdin)]) + "\\n")
with open(here + "/answers") as file:
    answers = file.readlines()
with open(here + "/answers", "w") as file:
    file.writelines(answers[1:] or answers)
code, text = json.loads(answers[0])
print(text)
sys.exit(code)
"""


class Plugin:
    """A plugin whose answers are given; the last one is for ever."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        path = directory / "netloom-cni"
        path.write_text(_PLUGIN)
        path.chmod(0o755)
        self.client = CniClient(
            shim=str(path), config='{"cniVersion":"1.1.0","name":"n","type":"netloom"}', socket="/s"
        )

    def asking_for(self, capabilities: dict[str, bool]) -> CniClient:
        config = {"cniVersion": "1.1.0", "name": "n", "type": "netloom", "capabilities": capabilities}
        return CniClient(shim=str(self._directory / "netloom-cni"), config=json.dumps(config), socket="/s")

    def answer(self, *answers: tuple[int, object]) -> None:
        lines = [json.dumps([code, a if isinstance(a, str) else json.dumps(a)]) for code, a in answers]
        (self._directory / "answers").write_text("\n".join(lines) + "\n")

    def calls(self) -> list[tuple[dict[str, str], dict[str, object]]]:
        return [tuple(json.loads(line)) for line in (self._directory / "calls").read_text().splitlines()]


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def error(code: int) -> dict[str, object]:
    return {"code": code, "msg": "no luck", "details": "wait"}


async def test_add_is_called_as_the_specification_says(plugin: Plugin):
    plugin.answer((0, ADDED))
    assert (await plugin.client.add(ONE)).addresses == ("10.244.1.5", "2001:db8::5")
    ((env, config),) = plugin.calls()
    arguments = dict(pair.split("=") for pair in env.pop("CNI_ARGS").split(";"))
    assert arguments == {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": "shop",
        "K8S_POD_NAME": "web-1",
        "K8S_POD_INFRA_CONTAINER_ID": "c1",
        "K8S_POD_UID": "u-1",
    }
    assert env.pop("CNI_PATH")
    assert env == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/proc/7/ns/net",
        "CNI_IFNAME": "eth0",
        "NETLOOM_CNI_SOCKET": "/s",
    }
    assert config == {"cniVersion": "1.1.0", "name": "n", "type": "netloom"}


async def test_del_hands_back_the_result_of_add(plugin: Plugin):
    plugin.answer((0, ""))
    await plugin.client.delete(ONE, json.dumps(ADDED))
    ((env, config),) = plugin.calls()
    assert (env["CNI_COMMAND"], config["prevResult"]) == ("DEL", ADDED)


async def test_errors_carry_the_plugins_code_and_words(plugin: Plugin):
    plugin.answer((1, error(7)), (1, "no JSON"))
    with pytest.raises(CniFailed, match=r"CNI ADD: no luck \(code 7\); wait") as refused:
        await plugin.client.add(ONE)
    assert refused.value.code == 7
    with pytest.raises(CniFailed, match="plugin ended with 1"):
        await plugin.client.add(ONE)


async def test_status_says_whether_pods_can_be_attached(plugin: Plugin):
    plugin.answer((1, error(50)), (0, ""))
    assert [await plugin.client.is_ready(), await plugin.client.is_ready()] == [False, True]
    assert "CNI_CONTAINERID" not in plugin.calls()[0][0]


async def test_try_again_later_is_obeyed(plugin: Plugin):
    plugin.answer((1, error(11)), (1, error(11)), (0, ADDED))
    waits: list[str] = []
    result = await attach(plugin.client, ONE, on_wait=waits.append, give_up=lambda: False)
    assert (result.addresses[0], len(waits), len(plugin.calls())) == ("10.244.1.5", 2, 3)


async def test_other_errors_and_pods_that_end_are_not_tried_again(plugin: Plugin):
    plugin.answer((1, error(7)), (1, error(11)))
    for give_up in (False, True):
        with pytest.raises(CniFailed):
            await attach(plugin.client, ONE, on_wait=lambda _: None, give_up=lambda g=give_up: g)
    assert len(plugin.calls()) == 2


async def test_del_is_repeated_until_it_succeeds(plugin: Plugin):
    plugin.answer((1, error(999)), (0, ""))
    record = SandboxRecord(uid="u-1", namespace="shop", name="web-1", container_id="c1", cni_result="")
    await detach(plugin.client, record, "")
    assert [env["CNI_COMMAND"] for env, _ in plugin.calls()] == ["DEL", "DEL"]
    await detach(
        plugin.client,
        SandboxRecord(uid="u", namespace="n", name="p", container_id="h", host_network=True),
        "",
    )
    assert len(plugin.calls()) == 2


async def test_the_plugin_is_told_of_the_capabilities_that_it_asks_for_and_of_no_others(plugin: Plugin):
    plugin.answer((0, ADDED))
    mapping = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}
    told = {"portMappings": [mapping], "bandwidth": {"ingressRate": 1000, "ingressBurst": 1}}
    one = msgspec.structs.replace(ONE, runtime=told)
    client = plugin.asking_for({"portMappings": True, "bandwidth": False})
    result = await client.add(one)
    await client.delete(one, result.raw)
    (_, added), (_, deleted) = plugin.calls()
    assert added["runtimeConfig"] == deleted["runtimeConfig"] == {"portMappings": [mapping]}
    assert "prevResult" in deleted
    await plugin.client.add(one)
    assert "runtimeConfig" not in plugin.calls()[-1][1]

"""Other plugins as processes: what they are given, in which order, and whatever they do wrong."""

import json
import os
import signal
from pathlib import Path

import pytest

from netloom.cni.codes import Code
from netloom.cni.delegate import Call, DelegateFailed, Delegates, PodNetns
from netloom.cni.ipam.store import Attachment
from netloom.cni.networks.configuration import Requested, read

pytestmark = pytest.mark.netns

NETNS = PodNetns("/run/netns/pod")


class Plugins:
    """A directory of shell scripts, each noting how it was called."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.delegates = Delegates(
            plugin_dirs=("/no/such/directory", str(directory)), environment={"OWN": "word"}, timeout_s=10.0
        )

    def write(self, name, script="", result=None):
        body = json.dumps(result or {"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.5/24"}]})
        note = f'env | grep -E "^(CNI_|OWN)" | sort > {self.directory}/{name}.$CNI_COMMAND.env\n'
        note += f"cat > {self.directory}/{name}.$CNI_COMMAND.stdin\necho {name} $CNI_COMMAND >> {self.directory}/calls\n"
        path = self.directory / name
        path.write_text(
            f"#!/bin/sh\n{note}{script or f'''[ $CNI_COMMAND = ADD ] && echo '{body}' || exit 0'''}\n"
        )
        path.chmod(0o755)

    def calls(self):
        return (self.directory / "calls").read_text().split("\n")[:-1]

    def given(self, name, command):
        return json.loads((self.directory / f"{name}.{command}.stdin").read_text())

    def environment(self, name, command):
        lines = (self.directory / f"{name}.{command}.env").read_text().splitlines()
        return dict(line.partition("=")[::2] for line in lines)


@pytest.fixture
def plugins(tmp_path):
    return Plugins(tmp_path)


def chain(*types, version="1.0.0", **requested):
    config = {
        "cniVersion": version,
        "name": "net",
        "plugins": [{"type": t, "capabilities": {"mac": t == "b"}} for t in types],
    }
    network = read(json.dumps(config), subject="x", field="y", name="net")
    return Call(
        network, Attachment("c1", "net1"), Requested(**requested), "IgnoreUnknown=true;K8S_POD_NAME=p"
    )


async def test_a_chain_hands_results_on_and_ends_in_reverse(plugins):
    plugins.write("a")
    second = {"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.6/24"}]}
    plugins.write("b", result=second)
    call = chain("a", "b", capabilities={"mac": "02:00:00:00:00:01"})
    result = await plugins.delegates.add(call, NETNS)
    assert result == second
    assert "prevResult" not in plugins.given("a", "ADD")
    assert plugins.given("b", "ADD")["prevResult"]["ips"] == [{"address": "192.0.2.5/24"}]
    assert plugins.given("b", "ADD")["runtimeConfig"] == {"mac": "02:00:00:00:00:01"}
    assert "runtimeConfig" not in plugins.given("a", "ADD")
    assert plugins.environment("a", "ADD") == {
        "CNI_ARGS": "IgnoreUnknown=true;K8S_POD_NAME=p",
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_IFNAME": "net1",
        "CNI_NETNS": "/run/netns/pod",
        "CNI_PATH": f"/no/such/directory:{plugins.directory}",
        "OWN": "word",
    }
    await plugins.delegates.check(call, NETNS, result)
    await plugins.delegates.delete(call, PodNetns(), result)
    assert plugins.calls() == ["a ADD", "b ADD", "a CHECK", "b CHECK", "b DEL", "a DEL"]
    assert plugins.given("a", "DEL")["prevResult"] == second
    assert plugins.environment("a", "DEL")["CNI_NETNS"] == ""


async def test_versions_without_check_have_no_check_and_no_previous_result_at_del(plugins):
    plugins.write("a", result={"cniVersion": "0.3.1", "ips": []})
    call = chain("a", version="0.3.1")
    result = await plugins.delegates.add(call, NETNS)
    await plugins.delegates.check(call, NETNS, result)
    await plugins.delegates.delete(call, NETNS, result)
    assert plugins.calls() == ["a ADD", "a DEL"]
    assert "prevResult" not in plugins.given("a", "DEL")


async def test_del_goes_on_after_a_failure_and_tells_the_first(plugins):
    plugins.write("a")
    plugins.write("b", script="""echo '{"code": 55, "msg": "no", "details": "why"}'; exit 1""")
    with pytest.raises(DelegateFailed) as raised:
        await plugins.delegates.delete(chain("a", "b"), NETNS, None)
    assert plugins.calls() == ["b DEL", "a DEL"]
    assert (raised.value.code, raised.value.problem, raised.value.hint) == (
        55,
        "plugin b: DEL: no (code 55)",
        "why",
    )


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("echo nonsense", Code.CANNOT_DECODE, "its answer is no result: nonsense"),
        ("true", Code.CANNOT_DECODE, "its answer is no result"),
        ("echo '[]'", Code.CANNOT_DECODE, "its answer is no result"),
        ("""echo '{"ips": [{"address": "x"}]}'""", Code.CANNOT_DECODE, "its result cannot be read"),
        ("head -c 2000000 /dev/zero", Code.CANNOT_DECODE, "it wrote 2000000 bytes"),
        ("""echo '{"code": 11, "msg": "later"}'; exit 1""", 11, "later"),
        ("""echo '{"code": 999, "msg": "own"}'; exit 1""", 999, "own"),
        ("""echo '{"code": "x"}'; exit 3""", Code.INTERNAL, "it ended with 3"),
        ("echo broken >&2; exit 2", Code.INTERNAL, "it ended with 2"),
        ("kill -9 $$", Code.INTERNAL, f"it was ended by signal {signal.SIGKILL}"),
    ],
)
async def test_whatever_a_plugin_does_wrong_is_told_with_its_name(plugins, script, code, words):
    plugins.write("a", script=script)
    with pytest.raises(DelegateFailed) as raised:
        await plugins.delegates.add(chain("a"), NETNS)
    assert raised.value.code == code
    assert raised.value.problem.startswith("plugin a: ADD: ")
    assert words in raised.value.problem


async def test_a_plugin_that_hangs_is_ended_with_all_that_it_started(plugins):
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    plugins.write("a", script="sleep 1000 & sleep 1000")
    slow = Delegates(plugin_dirs=(str(plugins.directory),), timeout_s=0.3)
    with pytest.raises(DelegateFailed, match=r"did not end within 0\.3 s") as raised:
        await slow.add(chain("a"), NETNS, guard_fd=write_end)
    assert raised.value.code == Code.TRY_AGAIN_LATER
    os.close(write_end)
    # what it started had this, too: it ends only when all of them are gone
    assert os.read(read_end, 1) == b""
    os.close(read_end)


async def test_what_is_no_executable_is_no_plugin(plugins):
    (plugins.directory / "plain").write_text("x")
    (plugins.directory / "folder").mkdir()
    for name in ("plain", "folder", "absent"):
        with pytest.raises(DelegateFailed, match=f"there is no executable {name}"):
            await plugins.delegates.add(chain(name), NETNS)


async def test_a_plugin_that_answers_in_another_version_is_understood(plugins):
    plugins.write("a", result={"cniVersion": "0.2.0", "ip4": {"ip": "192.0.2.5/24"}})
    plugins.write("b")
    await plugins.delegates.add(chain("a", "b"), NETNS)
    previous = plugins.given("b", "ADD")["prevResult"]
    assert previous["cniVersion"] == "1.0.0"
    assert previous["ips"] == [{"address": "192.0.2.5/24"}]

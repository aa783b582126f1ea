"""NetworkAttachmentDefinitions: found in the watch, asked for where the news is late, or read from the node's files."""

import json

import pytest

from netloom.api.meta import ObjectMeta
from netloom.api.networks import AttachmentSpec, NetworkAttachmentDefinition
from netloom.cni.networks import definitions as module
from netloom.cni.networks.definitions import Definitions
from netloom.errors import InvalidObject, NotFound, Unavailable, Unsupported
from netloom.testing.secondary_rig import WatchedDefinitions
from netloom.units import ObjectKey

BLUE = ObjectKey("shop", "blue")
CONFIG = json.dumps({"cniVersion": "1.0.0", "type": "bridge"})


@pytest.fixture
def watched():
    return WatchedDefinitions()


async def ask(watched, fetch=None, config_dirs=()):
    async def nothing(key):
        raise NotFound(f"{key} is not there")

    made = Definitions(watched=watched, fetch=fetch or nothing, config_dirs=config_dirs)
    return await made.network(BLUE, asked_by="Pod shop/cart: networks[0]")


async def test_one_that_is_known_is_not_asked_for(watched):
    watched.put("shop/blue", CONFIG)
    assert (await ask(watched)).plugins[0]["type"] == "bridge"


async def test_one_that_is_newer_than_the_watch_is_asked_for(watched):
    async def fetch(key):
        meta = ObjectMeta(namespace=key.namespace, name=key.name)
        return NetworkAttachmentDefinition(metadata=meta, spec=AttachmentSpec(CONFIG))

    assert (await ask(watched, fetch)).name == "blue"


async def test_one_that_is_not_there_is_told_with_who_asked(watched):
    with pytest.raises(
        InvalidObject,
        match=r"Pod shop/cart: networks\[0\]: there is no NetworkAttachmentDefinition shop/blue",
    ):
        await ask(watched)


@pytest.mark.parametrize(
    ("problem", "kind"), [(Unavailable("away"), Unavailable), (Unsupported("no"), InvalidObject)]
)
async def test_an_api_server_that_does_not_answer_is_try_again(watched, problem, kind):
    async def fetch(key):
        raise problem

    with pytest.raises(kind):
        await ask(watched, fetch)


async def test_before_all_was_read_once_it_waits_and_then_says_try_again(watched, monkeypatch):
    monkeypatch.setattr(module, "_SYNC_S", 0.01)
    watched.put("shop/blue", CONFIG)
    watched.synced.clear()
    with pytest.raises(Unavailable, match="the API server has not told any yet"):
        await ask(watched)


async def test_an_object_without_configuration_means_a_file_of_the_node(watched, tmp_path):
    watched.put("shop/blue", "")
    (tmp_path / "10-red.conf").write_text(json.dumps({"name": "red", "type": "ptp"}))
    (tmp_path / "20-broken.conf").write_text("{")
    (tmp_path / "30-blue.txt").write_text(json.dumps({"name": "blue", "type": "no"}))
    with pytest.raises(InvalidObject, match=r"is empty, and no file in .* configures a network blue"):
        await ask(watched, config_dirs=("/no/such/directory", str(tmp_path)))
    (tmp_path / "40-blue.conflist").write_text(json.dumps({"name": "blue", "plugins": [{"type": "ptp"}]}))
    found = await ask(watched, config_dirs=("/no/such/directory", str(tmp_path)))
    assert found.plugins == ({"type": "ptp"},)

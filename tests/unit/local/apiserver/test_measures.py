"""What ``/metrics`` tells."""

from __future__ import annotations

from tests.unit.local.apiserver.conftest import Api, config_map


async def test_requests_objects_and_watches_are_counted(api: Api) -> None:
    await api.create("configmaps", config_map("a"))
    await api("GET", "configmaps/nobody")
    await api("GET", "configmaps")
    for nonsense in ("/api/v1/made-up", "/apis/x/y/z", "/nothing"):
        await api("GET", nonsense)
    async with api.watch("configmaps?watch=1"):
        page = await api("GET", "/metrics")
    assert page.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = page.text.splitlines()
    about = 'group="",version="v1",resource="configmaps",subresource=""'
    for line in (
        f'apiserver_request_total{{verb="POST",{about},code="201"}} 1',
        f'apiserver_request_total{{verb="GET",{about},code="404"}} 1',
        f'apiserver_request_total{{verb="LIST",{about},code="200"}} 1',
        'apiserver_request_total{verb="GET",group="",version="",resource="",subresource="",code="404"} 3',
        'apiserver_storage_objects{resource="configmaps"} 1',
        'apiserver_registered_watchers{resource="configmaps"} 1',
        f'apiserver_request_duration_seconds_count{{verb="LIST",{about}}} 1',
    ):
        assert line in lines, line
    (await api("POST", "/metrics")).refused(405, "MethodNotAllowed")

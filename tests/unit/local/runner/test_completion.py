from __future__ import annotations

import msgspec
import pytest

from netloom.api.meta import OwnerReference
from netloom.local.runner.completion import RUN_S, Completion, completion_of
from netloom.local.runner.spec import PodMeta

JOB = (OwnerReference(kind="Job", name="j", uid="u", controller=True),)


def made(pod, spec, **meta):
    return msgspec.structs.replace(pod(spec), metadata=PodMeta(name="a", namespace="shop", **meta))


@pytest.mark.parametrize(
    ("policy", "meta", "completion"),
    [
        ("Never", {"owner_references": JOB}, Completion(RUN_S, 0)),
        ("OnFailure", {"owner_references": JOB}, Completion(RUN_S, 0)),
        ("Always", {"owner_references": JOB}, None),
        ("Never", {}, None),
        ("Never", {"annotations": {"netloom.io/exit-code": "3"}}, Completion(RUN_S, 3)),
        ("Never", {"annotations": {"netloom.io/run-seconds": "60"}}, Completion(60, 0)),
        ("Never", {"annotations": {"netloom.io/exit-code": "999"}}, Completion(RUN_S, 0)),
        ("Never", {"annotations": {"netloom.io/run-seconds": "-1"}}, Completion(RUN_S, 0)),
        ("Always", {"annotations": {"netloom.io/exit-code": "3"}}, None),
    ],
)
def test_what_ends_by_itself(pod, policy, meta, completion):
    p = made(pod, f"{{restartPolicy: {policy}, containers: [{{name: a, image: a}}]}}", **meta)
    assert completion_of(p, p.spec.containers[0]) == completion


def test_a_sidecar_of_a_job_goes_on(pod):
    sidecar = "initContainers: [{name: s, image: a, restartPolicy: Always}]"
    p = made(
        pod, f"{{restartPolicy: Never, {sidecar}, containers: [{{name: a, image: a}}]}}", owner_references=JOB
    )
    assert completion_of(p, p.spec.init_containers[0]) is None

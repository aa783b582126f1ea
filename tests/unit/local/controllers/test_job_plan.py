"""Jobs: sets of indexes, counting, and what failures mean."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.controllers.batch import indexes
from netloom.local.controllers.batch.endings import backoff_s
from netloom.local.controllers.batch.objects import INDEX, TRACKING, Job, JobSpec, Uncounted
from netloom.local.controllers.batch.plan import View, changes, decided, status_of
from netloom.local.controllers.batch.tally import tally
from netloom.local.controllers.objects import Meta, Pod, PodStatus

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("found", "text"),
    [(set(), ""), ({3}, "3"), ({0, 1}, "0,1"), ({0, 1, 2}, "0-2"), ({1, 3, 4, 5, 9}, "1,3-5,9")],
)
def test_indexes_as_text(found, text):
    assert indexes.written(found) == text


@given(st.sets(st.integers(0, 200)))
def test_indexes_come_back(found):
    assert indexes.read(indexes.written(found)) == found


@pytest.mark.parametrize("text", ["x", "1-", "-1", "1-x", ",,", "3-1", "1.5"])
def test_what_names_no_indexes_names_none(text):
    assert indexes.read(text) <= {1, 3}


def test_text_cannot_name_more_indexes_than_there_are():
    assert len(indexes.read("0-999999999999")) == indexes.MOST


@pytest.mark.parametrize(("failures", "wait"), [(0, 0), (1, 10), (2, 20), (5, 160), (20, 600)])
def test_each_failure_doubles_the_wait(failures, wait):
    assert backoff_s(failures, NOW, NOW) == wait
    assert backoff_s(failures, NOW, NOW + wait + 1) == 0


def pod(number: int, phase: str, *, tracked: bool, index: int | None = None) -> Pod:
    notes = {} if index is None else {INDEX: str(index)}
    meta = Meta(
        name=f"p{number}",
        uid=f"p{number}",
        annotations=notes,
        finalizers=(TRACKING,) if tracked else (),
        creation_timestamp="2026-01-01T00:00:00Z",
    )
    return Pod(metadata=meta, status=PodStatus(phase=phase))


@given(
    st.lists(st.sampled_from(["Running", "Succeeded", "Failed"]), max_size=8),
    st.lists(st.sampled_from(["status", "finalizers", "look"]), max_size=30),
)
def test_whatever_is_lost_between_two_writes_each_pod_is_counted_once(phases, happenings):
    """Statuses are written and finalizers go in any order that the loop and its deaths allow; in the end all counts are right."""
    job = Job(metadata=Meta(name="j", uid="j"), spec=JobSpec(completions=99, parallelism=8, backoff_limit=99))
    pods = {i: pod(i, phase, tracked=True) for i, phase in enumerate(phases)}
    for happening in [*happenings, *["status", "finalizers"] * 3]:
        seen = tally(job, list(pods.values()), is_ending=False)
        if happening == "look":
            continue
        # a finalizer never goes before the status that notes the pod has been written
        status = status_of(View(job, list(pods.values()), seen, NOW), None, 0)
        job = msgspec.structs.replace(job, status=status)
        if happening == "finalizers":
            for gone in seen.let_go:
                number = int(gone.metadata.name[1:])
                pods[number] = pod(number, phases[number], tracked=False)
    assert job.status.uncounted_terminated_pods == Uncounted()
    assert (job.status.succeeded, job.status.failed) == (phases.count("Succeeded"), phases.count("Failed"))


def view(*pods: Pod, **spec: object) -> View:
    job = Job(metadata=Meta(name="j", uid="j"), spec=JobSpec(**spec))
    return View(job, pods, tally(job, pods, is_ending=False), NOW)


def test_a_queue_of_work_is_done_when_one_has_succeeded_and_none_runs():
    done = pod(0, "Succeeded", tracked=True)
    assert decided(view(done, pod(1, "Running", tracked=True), parallelism=2)) is None
    assert changes(view(done, parallelism=2), None).create == []
    assert decided(view(done, parallelism=2)).type == "SuccessCriteriaMet"


def test_the_lowest_open_indexes_come_next_and_doubles_go():
    spec = {"completions": 5, "parallelism": 3, "completion_mode": "Indexed"}
    pods = [pod(0, "Succeeded", tracked=True, index=0), pod(1, "Running", tracked=True, index=2)]
    made = changes(view(*pods, **spec), None).create
    assert [b["metadata"]["annotations"][INDEX] for b in made] == ["1", "3"]
    twice = changes(view(*pods, pod(2, "Running", tracked=True, index=2), **spec), None)
    assert [p.uid for p in twice.delete] == ["p2"]
    assert twice.create == []

"""Jobs and CronJobs as their control loops read them (batch/v1). Not here: any behaviour beyond reading one object."""

from __future__ import annotations

from typing import Any

import msgspec

from netloom.api.meta import LabelSelector
from netloom.api.selectors import Selector, from_selector
from netloom.local.controllers.objects import Condition, Loaded, Owning

TRACKING = "batch.kubernetes.io/job-tracking"
"""Finalizer of a Job's pods: until each is counted, none of them vanishes."""
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES, IGNORED = (
    "batch.kubernetes.io/job-index-failure-count",
    "batch.kubernetes.io/job-index-ignored-failure-count",
)
CONTROLLER = "kubernetes.io/job-controller"

COMPLETE, FAILED, SUSPENDED = "Complete", "Failed", "Suspended"
SUCCEEDING, FAILING = "SuccessCriteriaMet", "FailureTarget"
"""How it will end is decided; pods are still on their way out."""


class OnExitCodes(msgspec.Struct, frozen=True, rename="camel"):
    """batch/v1 PodFailurePolicyOnExitCodesRequirement: operator In or NotIn; no container means every one."""

    operator: str = "In"
    values: tuple[int, ...] = ()
    container_name: str | None = None


class OnPodCondition(msgspec.Struct, frozen=True):
    """batch/v1 PodFailurePolicyOnPodConditionsPattern."""

    type: str = ""
    status: str = "True"


class FailureRule(msgspec.Struct, frozen=True, rename="camel"):
    """batch/v1 PodFailurePolicyRule: action FailJob, FailIndex, Ignore or Count."""

    action: str = "Count"
    on_exit_codes: OnExitCodes | None = None
    on_pod_conditions: tuple[OnPodCondition, ...] = ()


class FailurePolicy(msgspec.Struct, frozen=True):
    """batch/v1 PodFailurePolicy: the first rule that matches counts."""

    rules: tuple[FailureRule, ...] = ()


class SuccessRule(msgspec.Struct, frozen=True, rename="camel"):
    """batch/v1 SuccessPolicyRule."""

    succeeded_indexes: str | None = None
    succeeded_count: int | None = None


class SuccessPolicy(msgspec.Struct, frozen=True):
    """batch/v1 SuccessPolicy: any rule is enough."""

    rules: tuple[SuccessRule, ...] = ()


class JobSpec(msgspec.Struct, frozen=True, rename="camel"):
    """batch/v1 JobSpec."""

    parallelism: int = 1
    completions: int | None = None
    backoff_limit: int = 6
    backoff_limit_per_index: int | None = None
    max_failed_indexes: int | None = None
    active_deadline_seconds: int | None = None
    ttl_seconds_after_finished: int | None = None
    completion_mode: str = "NonIndexed"
    suspend: bool = False
    pod_failure_policy: FailurePolicy | None = None
    success_policy: SuccessPolicy | None = None
    pod_replacement_policy: str = ""
    managed_by: str = CONTROLLER
    selector: LabelSelector = LabelSelector()
    template: dict[str, Any] = {}


class Uncounted(msgspec.Struct, frozen=True):
    """batch/v1 UncountedTerminatedPods: uids of pods that have ended and are not in the counts yet."""

    succeeded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class JobStatus(msgspec.Struct, frozen=True, rename="camel"):
    """batch/v1 JobStatus."""

    conditions: tuple[Condition, ...] = ()
    start_time: str | None = None
    completion_time: str | None = None
    active: int = 0
    ready: int | None = None
    terminating: int | None = None
    succeeded: int = 0
    failed: int = 0
    completed_indexes: str = ""
    failed_indexes: str | None = None
    uncounted_terminated_pods: Uncounted | None = None

    def condition(self, type_: str) -> Condition | None:
        """The condition of this type where it is True."""
        return next((c for c in self.conditions if c.type == type_ and c.status == "True"), None)


class Job(Owning, frozen=True):
    """batch/v1 Job."""

    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()

    @property
    def selector(self) -> Selector:
        """``spec.selector``."""
        return from_selector(self.spec.selector)

    @property
    def is_indexed(self) -> bool:
        """Each completion has a number of its own (``spec.completionMode``)."""
        return self.spec.completion_mode == "Indexed"

    @property
    def finished(self) -> Condition | None:
        """Its condition Complete or Failed, where it has ended."""
        return self.status.condition(COMPLETE) or self.status.condition(FAILED)

    @property
    def replaces_failed_only(self) -> bool:
        """A pod on its way out is replaced when it has ended, not before (``spec.podReplacementPolicy``)."""
        return self.spec.pod_replacement_policy == "Failed"


class JobTemplate(msgspec.Struct, frozen=True):
    """batch/v1 JobTemplateSpec; plain dicts, to be copied."""

    metadata: dict[str, Any] = {}
    spec: dict[str, Any] = {}


class CronJobSpec(msgspec.Struct, frozen=True, rename="camel"):
    """batch/v1 CronJobSpec."""

    schedule: str = ""
    time_zone: str | None = None
    starting_deadline_seconds: int | None = None
    concurrency_policy: str = "Allow"
    suspend: bool = False
    job_template: JobTemplate = JobTemplate()
    successful_jobs_history_limit: int | None = 3
    failed_jobs_history_limit: int | None = 1


class Reference(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """core/v1 ObjectReference."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""


class CronJobStatus(msgspec.Struct, frozen=True, rename="camel"):
    """batch/v1 CronJobStatus."""

    active: tuple[Reference, ...] = ()
    last_schedule_time: str | None = None
    last_successful_time: str | None = None


class CronJob(Loaded, frozen=True):
    """batch/v1 CronJob."""

    spec: CronJobSpec = CronJobSpec()
    status: CronJobStatus = CronJobStatus()

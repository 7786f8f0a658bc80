"""The rows of the job engine."""

from tasks.models.bulk_action import BulkAction
from tasks.models.job import DEAD_LETTER, UNPUBLISHED, Job, JobEvent, JobQuerySet, JobRequest
from tasks.models.job_group import JobGroup
from tasks.models.schedule_run import ScheduleRun
from tasks.models.worker import Worker

__all__ = [
    "DEAD_LETTER",
    "UNPUBLISHED",
    "BulkAction",
    "Job",
    "JobEvent",
    "JobGroup",
    "JobQuerySet",
    "JobRequest",
    "ScheduleRun",
    "Worker",
]

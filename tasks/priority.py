"""The one mapping between job types, queues, our priorities (1 is the most urgent) and the brokers' numbers."""

from django.conf import settings

from tasks.models import Job

BANDS = {
    Job.Queue.FOREGROUND: range(1, 4),
    Job.Queue.BACKGROUND_FETCH: range(4, 7),
    Job.Queue.BACKGROUND_ANALYSIS: range(7, 11),
}
"""The priorities that each queue holds."""

_USER_WAITS = (Job.Trigger.USER_LOGIN, Job.Trigger.USER_REQUEST)


def queue_for(job_type: str, trigger: str, *, has_range: bool = False) -> Job.Queue:
    """The queue of a job: a fetch for a waiting user goes to `foreground`, one with a date range is a backfill."""
    if job_type in (Job.Type.STOCK_ANALYSIS, Job.Type.STOCK_RESEARCH):
        return Job.Queue.BACKGROUND_ANALYSIS
    if job_type == Job.Type.STOCK_FETCH and trigger in _USER_WAITS and not has_range:
        return Job.Queue.FOREGROUND
    return Job.Queue.BACKGROUND_FETCH


def priority_for(trigger: str, queue: Job.Queue) -> int:
    """The trigger's rule of the configuration, clamped to the queue's band."""
    rule: int = getattr(settings.JOB_PROCESSOR.jobs.priority_rules, trigger)
    band = BANDS[queue]
    return min(max(rule, band[0]), band[-1])


def broker_priority(priority: int, *, amqp: bool) -> int:
    """The number that the broker sorts by: Redis serves 0 first, RabbitMQ the highest."""
    return 11 - priority if amqp else priority - 1

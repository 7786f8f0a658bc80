"""The default routes of messages: for schedules, and for Celery's own tasks."""

from typing import Any

from django.conf import settings

from tasks.models import Job
from tasks.priority import BANDS, broker_priority, priority_for

_SCHEDULED = {
    "stockqueue.scheduled_portfolio_update": (Job.Queue.BACKGROUND_FETCH, Job.Trigger.SCHEDULED_UPDATE),
    "stockqueue.market_data": (Job.Queue.BACKGROUND_FETCH, Job.Trigger.SCHEDULED_UPDATE),
    "stockqueue.warm": (Job.Queue.BACKGROUND_FETCH, Job.Trigger.SCHEDULED_UPDATE),
    "stockqueue.send_mails": (Job.Queue.BACKGROUND_FETCH, Job.Trigger.USER_REQUEST),
    "stockqueue.settle": (Job.Queue.BACKGROUND_FETCH, Job.Trigger.MAINTENANCE),
    "stockqueue.value_portfolios": (Job.Queue.BACKGROUND_ANALYSIS, Job.Trigger.MAINTENANCE),
    "stockqueue.tell_ended_groups": (Job.Queue.BACKGROUND_ANALYSIS, Job.Trigger.MAINTENANCE),
    "stockqueue.check_alerts": (Job.Queue.FOREGROUND, Job.Trigger.USER_REQUEST),
    "stockqueue.bulk_action": (Job.Queue.BACKGROUND_ANALYSIS, Job.Trigger.MAINTENANCE),
    "stockqueue.cleanup": (Job.Queue.BACKGROUND_ANALYSIS, Job.Trigger.MAINTENANCE),
    "celery.backend_cleanup": (Job.Queue.BACKGROUND_ANALYSIS, Job.Trigger.MAINTENANCE),
}


def route(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_more: Any) -> dict[str, Any]:
    """The queue and the broker's priority for a task; unlisted tasks, such as the sweep, are the most urgent.

    Explicit options of a message win: a job's own queue and priority, or a schedule's queue. Schedules store no
    priority, because a stored number would be wrong after a change from Redis to RabbitMQ.
    """
    queue, priority = Job.Queue.FOREGROUND, BANDS[Job.Queue.FOREGROUND][0]
    if name in _SCHEDULED:
        queue, trigger = _SCHEDULED[name]
        priority = priority_for(trigger, queue)
    amqp = settings.CELERY_BROKER_URL.startswith("amqp")
    return {"queue": str(queue), "priority": broker_priority(priority, amqp=amqp)}

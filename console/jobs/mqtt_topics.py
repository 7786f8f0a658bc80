"""A job's page with what the layers below it do not know: where each of its events is told on MQTT."""

from collections.abc import Sequence

from console.jobs.register import JobAdmin as PlainJobAdmin
from mqtt_bridge.topics import InvalidTopic, lifecycle_targets
from tasks.models import Job, JobEvent, JobRequest


class JobAdmin(PlainJobAdmin):
    def topics(self, job: Job, events: Sequence[JobEvent], requests: Sequence[JobRequest]) -> dict[int, Sequence[str]]:
        return {event.pk: _topics(job, event, requests) for event in events}


def _topics(job: Job, event: JobEvent, requests: Sequence[JobRequest]) -> Sequence[str]:
    """As the bridge publishes it: also to those who had asked by logging in when it did."""
    event.job = job  # it is the one that it came with
    logins = {
        request.user_id: None
        for request in requests
        if request.trigger == Job.Trigger.USER_LOGIN
        and request.user_id is not None
        and (event.published_at is None or request.created_at <= event.published_at)
    }
    try:
        return [target.topic for target in lifecycle_targets(event, [*logins])]
    except InvalidTopic as error:
        return [f"none: {error}"]

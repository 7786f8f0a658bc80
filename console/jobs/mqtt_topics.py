"""The MQTT topics of a job's events, for the job's page."""

from collections.abc import Sequence

from mqtt_bridge.topics import InvalidTopic, lifecycle_targets
from tasks.models import Job, JobEvent, JobRequest


def topics_of(job: Job, events: Sequence[JobEvent], requests: Sequence[JobRequest]) -> dict[int, Sequence[str]]:
    """The topics of each event, by the event's key."""
    return {event.pk: _topics(job, event, requests) for event in events}


def _topics(job: Job, event: JobEvent, requests: Sequence[JobRequest]) -> Sequence[str]:
    """The topics of the bridge, with a topic for each user whose login had requested the job by then."""
    event.job = job  # the same job, without a query
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

"""Jobs that have events for the bridge, and what tells that these have arrived. No worker and no broker is needed."""

import subprocess
from collections.abc import Callable, Sequence

from django.contrib.auth.models import User

from market.jobs.requests import request_fetches
from market.models import Stock
from operations.local.child_processes import wait_until
from operations.local.mqtt_subscriber import Message
from tasks.models import Job, JobEvent
from tasks.state import lifecycle
from tests.support.invariants import arrived_event_ids, event_ids

PATIENCE = 60.0
STATE = "stockqueue/bridge/state"


def request(*symbols: str, trigger: Job.Trigger = Job.Trigger.SCHEDULED_UPDATE, user: User | None = None) -> list[Job]:
    """The jobs for `symbols`, new or joined. No broker takes them: they are pending."""
    stocks = [Stock.objects.get_or_create(symbol=symbol)[0] for symbol in symbols]
    requested = request_fetches(stocks, trigger, user)
    return requested.created + requested.joined


def work(jobs: Sequence[Job]) -> None:
    """Start all of them, then end them, every third one with an error."""
    claims = [lifecycle.claim(job.pk, "host:worker-1") for job in jobs]
    for number, claim in enumerate(claims):
        assert claim is not None
        if number % 3 == 2:
            lifecycle.fail(claim, "no answer")
        else:
            result = {"symbol": claim.symbol, "source": "sample", "records_stored": 21, "days_fetched": 21}
            lifecycle.complete(claim, Job.Outcome.UPDATED, result)


def worked(count: int) -> list[Job]:
    """Jobs with four events each, from created to completed or failed."""
    jobs = request(*(f"S{number}" for number in range(count)))
    work(jobs)
    return jobs


def arrived(jobs: Sequence[Job]) -> Callable[[list[Message]], bool]:
    """For `wait_for` of one subscriber. Each message is read once, since it is asked again after every message."""
    missing = event_ids(jobs)
    read = 0

    def has_all(messages: list[Message]) -> bool:
        nonlocal read
        missing.difference_update(arrived_event_ids(lifecycle_of(messages[read:])))
        read = len(messages)
        return not missing

    return has_all


def lifecycle_of(messages: Sequence[Message]) -> list[Message]:
    """Those that tell of jobs."""
    return [message for message in messages if message.topic.startswith(("stock/", "jobs/"))]


def unpublished(jobs: Sequence[Job]) -> set[int]:
    events = JobEvent.objects.filter(job__in=[job.pk for job in jobs], published_at=None)
    return set(events.values_list("pk", flat=True))


def wait_until_all_is_published(jobs: Sequence[Job]) -> None:
    wait_until(lambda: not unpublished(jobs), "the outbox to be empty", timeout=PATIENCE)


def kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()

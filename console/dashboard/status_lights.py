"""Status lights of the services, and the state of direct processing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from console.dashboard import links
from console.dashboard.links import Figure
from market.sources import available_sources
from market.sources.budget import usage_of
from operations.monitoring import health, statistics
from operations.monitoring.alerts import BEAT_SILENT, BRIDGE_SILENT
from operations.monitoring.health import Readiness
from operations.monitoring.workers import SignsOfLife, WorkerUse, signs_of_life
from stockqueue.wording import describe_age
from tasks.models import Job

DIRECT = "direct@"
"""Prefix of the worker ids of direct processing (`tasks.delivery.direct.worker_id`)."""

GOOD, BAD, UNKNOWN = "good", "bad", "unknown"


@dataclass(frozen=True)
class Light:
    """The status of a service; `state` is GOOD, BAD or UNKNOWN, and `text` the same in words."""

    name: str
    state: str
    text: str
    figures: Sequence[Figure] = ()


def lights(readiness: Readiness, now: datetime) -> Iterator[Light]:
    """Yield a light for the broker, the database, beat, the MQTT bridge and each source."""
    yield _broker(readiness.checks["broker"])
    yield Light("Database", GOOD, "answers")
    signs = signs_of_life(now)
    yield _beat(signs)
    yield _bridge(signs, now)
    for source in available_sources():
        yield _source(source, now)


def _broker(said: str) -> Light:
    refused = Job.objects.refused().count()
    figures = [
        Figure("queued jobs", links.active_jobs(status__exact=Job.Status.QUEUED)),
        Figure(f"{refused} refused jobs", links.active_jobs(refused_at__isnull=False)),
    ]
    if said == health.NOT_NEEDED:
        return Light("Broker", GOOD, "not needed: direct processing", figures)
    if said != health.OK:
        return Light("Broker", BAD, health.SILENT, figures)
    return Light("Broker", *((BAD, "answers, but refuses some jobs") if refused else (GOOD, "answers")), figures)


def _beat(signs: SignsOfLife) -> Light:
    schedules = Figure("schedules", links.schedules(enabled__exact=1))
    return Light("Beat", *_sign(signs.beat, BEAT_SILENT), [schedules])


def _bridge(signs: SignsOfLife, now: datetime) -> Light:
    outbox = statistics.outbox(now)
    waiting = f"{outbox.unpublished} unpublished event{'' if outbox.unpublished == 1 else 's'}"
    if outbox.oldest_age is not None:
        waiting += f", the oldest for {_age(outbox.oldest_age)}"
    figures = [
        Figure("publisher", links.bridges()),
        Figure(waiting, links.unpublished_events()),
        Figure(f"{outbox.set_aside} dead letter{'' if outbox.set_aside == 1 else 's'}", links.set_aside_events()),
    ]
    return Light("MQTT bridge", *_sign(signs.bridge, BRIDGE_SILENT), figures)


def _sign(age: float | None, silent: float) -> tuple[str, str]:
    if age is None:
        return UNKNOWN, "not seen yet"
    if age < -silent:
        return BAD, f"last seen {_age(-age)} in the future: its clock is or was ahead"
    return (BAD if age > silent else GOOD), f"last seen {_age(age)} ago"


def _source(name: str, now: datetime) -> Light:
    usage = usage_of(name)
    link = links.sources(source__exact=name)
    budget = Figure(f"{usage.used} of {usage.limit} requests in the last minute", link)
    label = name.replace("_", " ").title()
    if usage.pause_until is not None:
        pause = f"paused until {usage.pause_until:%H:%M:%S}, for {describe_age(usage.pause_until - now)} more"
        return Light(label, BAD, pause, [budget])
    if not usage.left:
        return Light(label, BAD, "rate limit reached", [budget])
    return Light(label, GOOD, "available", [budget])


def direct_processing(readiness: Readiness, uses: Iterable[WorkerUse]) -> tuple[str, Figure | None]:
    """The reason for direct processing and its running jobs; an empty text and None if it is off."""
    broker, rollout = readiness.checks["broker"], settings.JOB_PROCESSOR.integration.rollout_percent
    direct = sum(use.running for use in uses if use.worker_id.startswith(DIRECT))
    if broker == health.NOT_NEEDED:
        why = "queue.backend is direct, so web servers and commands run the jobs themselves."
    elif broker == health.STOOD_IN_FOR:
        why = "the broker does not answer, so web servers run the jobs that users wait for; other jobs wait."
    elif rollout < 100:
        why = f"integration.rollout_percent is {rollout}, so the jobs of other users run without the broker."
    elif direct:
        why = "a process that could not reach the broker runs jobs itself."
    else:
        return "", None
    link = links.active_jobs(worker_id__startswith=DIRECT, status__exact=Job.Status.RUNNING)
    return f"Direct processing is on: {why}", Figure(f"{direct} job{'' if direct == 1 else 's'} running", link)


def _age(seconds: float) -> str:
    return describe_age(timedelta(seconds=seconds))

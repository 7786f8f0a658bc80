import json
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from operations.local.text_table import format_table
from operations.monitoring.statistics import Statistics, collect
from stockqueue.wording import describe_duration
from tasks.management.jobs import ShellCommand


class Command(ShellCommand):
    help = (
        "Show the state of the system: waiting jobs and their age, processing times, ended jobs and errors, workers, "
        "the freshness of held stocks, and events that are not published on MQTT yet."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print everything as one JSON object; ages in seconds")

    def handle(self, *args: Any, **options: Any) -> None:
        figures = collect()
        if options["json"]:
            self.stdout.write(json.dumps(asdict(figures), indent=2, cls=DjangoJSONEncoder))
            return
        for title, headings, rows in _tables(figures):
            shown = [list(row) for row in rows]
            self.stdout.write(f"\n{title}")
            self.stdout.write(format_table(headings, shown) if shown else "none")


def _tables(figures: Statistics) -> Iterable[tuple[str, Sequence[str], Iterable[Sequence[object]]]]:
    yield (
        "Active jobs",
        ["priority", "queue", "pending", "queued", "running"],
        ([one.priority, one.queue, one.pending, one.queued, one.running] for one in figures.depths),
    )
    yield (
        "Queues",
        ["queue", "waiting", "oldest", "messages at the broker"],
        (
            [one.queue, one.waiting, _age(one.oldest_wait), _unless_silent(one.broker_messages)]
            for one in figures.queues
        ),
    )
    yield (
        "Processing times of the last hour, and the waits at the broker",
        ["job type", "jobs", "p50", "p95", "wait p50", "wait p95"],
        (
            [one.job_type, one.jobs, *map(_age, (one.p50, one.p95, one.wait_p50, one.wait_p95))]
            for one in figures.processing_times
        ),
    )
    yield (
        "Jobs that ended in the last 24 hours",
        ["status", "outcome", "jobs"],
        ([one.status, one.outcome, one.jobs] for one in figures.ends),
    )
    yield (
        "Errors in the last 24 hours",
        ["jobs", "status", "reason"],
        ([one.jobs, one.status, one.reason.splitlines()[0] if one.reason else ""] for one in figures.failures),
    )
    yield (
        "Workers, with their jobs of the last hour",
        ["worker", "state", "running", "heartbeat", "jobs/minute"],
        (
            [one.worker_id, one.state, one.running, _age(one.heartbeat_age), one.jobs_per_minute]
            for one in figures.workers
        ),
    )
    yield (
        "Running jobs",
        ["worker", "job", "symbol", "type", "priority", "for", "heartbeat", "requested by"],
        (
            [
                one.worker_id,
                one.job_id,
                one.subject,
                one.job_type,
                one.priority,
                _age(one.running_for),
                _age(one.heartbeat_age),
                ", ".join(one.requesters),
            ]
            for one in figures.running
        ),
    )
    fresh = figures.freshness
    yield (
        f"Held stocks: {fresh.fresh} fresh, {fresh.stale} stale ({fresh.never} never checked), "
        f"{fresh.parked} parked; the oldest",
        ["stock", "last checked"],
        ([one.symbol, "never" if one.age is None else f"{_age(one.age)} ago"] for one in fresh.worst),
    )
    covered = figures.coverage
    yield (
        f"Coverage: {covered.fresh} of {covered.holdings} holdings in {covered.portfolios} portfolios are fresh; "
        "the least fresh",
        ["user", "portfolio", "holdings", "fresh", "share"],
        ([one.user, one.portfolio, one.holdings, one.fresh, f"{one.share:.0%}"] for one in covered.worst),
    )
    waiting = figures.outbox
    yield (
        "Events not published on MQTT yet",
        ["events", "oldest", "dead letters"],
        [[waiting.unpublished, _age(waiting.oldest_age), waiting.set_aside]],
    )


def _age(seconds: float | None) -> str:
    return "" if seconds is None else describe_duration(timedelta(seconds=seconds))


def _unless_silent(messages: int | None) -> object:
    return "does not answer" if messages is None else messages

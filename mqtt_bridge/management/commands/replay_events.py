import json
import re
from argparse import ArgumentParser
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from mqtt_bridge.models import SetAsideEvent
from mqtt_bridge.replay import replay
from mqtt_bridge.topic_filters import InvalidFilter, check_filter
from tasks.management.jobs import ShellCommand, bad_argument, find_jobs
from tasks.models import JobEvent

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Command(ShellCommand):
    help = (
        "Let the MQTT bridge publish events again: the events of some jobs, the events of a period, or the dead "
        "letters. Each event is published on all its topics, with its original event_id and time, even if --topic "
        "matches only one topic. New events are published afterwards. Exit code 0, even without events; 2 for bad "
        "arguments."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--job", nargs="+", action="extend", metavar="ID", help="all events of these jobs")
        parser.add_argument(
            "--since",
            metavar="WHEN",
            help="events since this time: 2024-01-31 (at midnight), 2024-01-31T09:30, 2024-01-31T09:30+01:00, or "
            f"30m, 2h or 1d ago; without a time zone: {timezone.get_default_timezone_name()}",
        )
        parser.add_argument("--until", metavar="WHEN", help="with --since: events before this time (default: now)")
        parser.add_argument("--set-aside", action="store_true", help="the dead letters, which could not be published")
        parser.add_argument(
            "--topic",
            metavar="FILTER",
            help="only events with a matching topic, such as stock/fetch/AAPL or 'jobs/failed/+'",
        )
        parser.add_argument("--dry-run", action="store_true", help="show how many events match, and change nothing")
        parser.add_argument("--json", action="store_true", help="print the counts as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        since, until = _parse_time(options["since"], options["until"], timezone.now())
        events = _choose(options["job"], since, until, set_aside=options["set_aside"])
        topic, dry_run = options["topic"], options["dry_run"]
        if topic is not None:
            _check_topic(topic)
        replayed = replay(events, topic, dry_run=dry_run)
        if options["json"]:
            moments = {name: moment and moment.isoformat() for name, moment in (("since", since), ("until", until))}
            self.stdout.write(json.dumps({**replayed._asdict(), "dry_run": dry_run, "topic": topic, **moments}))
        elif not replayed.events:
            self.stdout.write("No events to publish again: none match, or they already wait to be published.")
        else:
            ends = [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in (since, until) if moment]
            when = f" from {' to '.join(ends)} UTC" if ends else ""
            what = "would be published again; nothing is changed" if dry_run else "will be published again"
            self.stdout.write(f"{replayed}{when} {what}.")


def _choose(
    job_ids: Sequence[str] | None, since: datetime | None, until: datetime | None, *, set_aside: bool
) -> "QuerySet[JobEvent]":
    """The events selected by exactly one of the options."""
    if [job_ids is not None, since is not None, set_aside].count(True) != 1:
        raise bad_argument("expected exactly one of --job, --since and --set-aside")
    if job_ids is not None:
        return JobEvent.objects.filter(job__in=find_jobs(job_ids))
    if since is not None:
        return JobEvent.objects.filter(created_at__gte=since, created_at__lt=until)
    return SetAsideEvent.objects.all()


def _parse_time(since: str | None, until: str | None, now: datetime) -> tuple[datetime | None, datetime | None]:
    """The first and the last moment; None, None without --since. A bad argument names the wrong option."""
    if since is None:
        if until is not None:
            raise bad_argument(f"--until {until} needs --since")
        return None, None
    first = _parse_moment("--since", since, now)
    last = now if until is None else _parse_moment("--until", until, now)
    if first >= last:
        raise bad_argument(f"--since {since} is not before --until {until or 'now'}")
    return first, last


def _parse_moment(name: str, text: str, now: datetime) -> datetime:
    span = re.fullmatch("([0-9]+)([mhd])", text)
    try:
        moment = now - timedelta(**{_UNITS[span[2]]: int(span[1])}) if span else datetime.fromisoformat(text)
        if timezone.is_naive(moment):
            moment = timezone.make_aware(moment)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        examples = "2024-01-31, 2024-01-31T09:30, 2024-01-31T09:30+01:00, 30m, 2h or 1d"
        raise bad_argument(f"{name} {text} is not a time; write it as {examples}") from None
    if moment > now:
        raise bad_argument(f"{name} {text} is in the future; now it is {now:%Y-%m-%dT%H:%M:%S%z}")
    return moment


def _check_topic(topic: str) -> None:
    try:
        check_filter(topic)
    except InvalidFilter as error:
        raise bad_argument(f"--topic {topic!r} is not a topic filter: {error}") from None

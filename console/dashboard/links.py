"""Links from figures to the admin's lists. A list has exactly the rows counted by its figure."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from django.urls import reverse


@dataclass(frozen=True)
class Figure:
    """The text of a count or measurement, and a link to the list behind the number; empty if there is no list."""

    text: str
    link: str = ""


def jobs(**lookups: object) -> str:
    return _list("tasks_job", lookups)


def active_jobs(**lookups: object) -> str:
    # With this condition the database uses a partial index.
    return jobs(finished_at__isnull=True, **lookups)


def ended_jobs(since: datetime, **lookups: object) -> str:
    return jobs(finished_at__gte=since.isoformat(), **lookups)


def job_requests(**lookups: object) -> str:
    return _list("tasks_jobrequest", lookups)


def bridges() -> str:
    return _list("mqtt_bridge_bridgelease", {})


def unpublished_events() -> str:
    return _list("tasks_jobevent", {"published_at__isempty": 1, "error__isempty": 1})


def set_aside_events() -> str:
    return _list("mqtt_bridge_setasideevent", {})


def workers(**lookups: object) -> str:
    return _list("tasks_worker", lookups)


def sources(**lookups: object) -> str:
    return _list("market_sourcestate", lookups)


def stocks(**lookups: object) -> str:
    return _list("market_stock", lookups)


def holdings(**lookups: object) -> str:
    return _list("portfolio_holding", lookups)


def priorities(**lookups: object) -> str:
    return _list("portfolio_portfoliopriority", lookups)


def schedules(**lookups: object) -> str:
    return _list("django_celery_beat_periodictask", lookups)


def alerts(**lookups: object) -> str:
    return _list("operations_alert", lookups)


def _list(model: str, lookups: dict[str, object]) -> str:
    address = reverse(f"admin:{model}_changelist")
    return f"{address}?{urlencode(lookups)}" if lookups else address

"""The admin's lists that figures lead to. A list has exactly the rows that its figure counts."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from django.urls import reverse


@dataclass(frozen=True)
class Figure:
    """Something that was counted or measured, and the list of what it is about."""

    text: str
    link: str


def jobs(**lookups: object) -> str:
    return _list("tasks_job", lookups)


def active_jobs(**lookups: object) -> str:
    # Said in these words, so that the database finds them by a partial index.
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

"""Raises an alert when a metric stays out of bounds, and clears the alert when the metric stays well."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from operations.models import Alert
from operations.monitoring import metrics, readings
from operations.monitoring.metric_queries import Measure, count_below, largest, total
from operations.monitoring.metrics import Samples
from tasks.models import Job

HOLD = timedelta(seconds=60)
"""How long a metric has to be out of bounds, or well again, to count."""
MARGIN = 0.1
"""A share of the threshold; a value within the margin is neither out of bounds nor well."""
FEW = 10
"""The least number of jobs of an hour, or of logins of a day, for a share."""
OUTBOX_AGE = 60.0
BRIDGE_SILENT = 60.0
BEAT_SILENT = 600.0
"""Seconds. Beat records its activity every three minutes."""
CALENDAR_ENDS = timedelta(days=60)
"""The time before the end of an exchange's calendar from which an operator is warned."""

State = Alert.State


@dataclass(frozen=True)
class Rule:
    """A bound of a metric. `measure` finds the value: None means unknown, neither good nor bad.

    `text` has the placeholders `{value}` and `{threshold}`.
    """

    name: str
    text: str
    threshold: float
    measure: Measure
    is_floor: bool = False

    def is_bad(self, value: float) -> bool:
        return value < self.threshold if self.is_floor else value > self.threshold

    def is_well(self, value: float) -> bool:
        if self.is_floor:
            return value >= min(1.0, self.threshold * (1 + MARGIN))
        return value <= self.threshold * (1 - MARGIN)

    def told(self, value: float) -> str:
        return self.text.format(value=value, threshold=self.threshold)


def rules() -> list[Rule]:
    """The rules of `monitoring.thresholds`, and the rules that every installation needs."""
    limits = settings.JOB_PROCESSOR.monitoring.thresholds
    return [
        Rule(
            "queue-depth",
            "{value:.0f} jobs wait in one queue; the threshold is {threshold:.0f}.",
            limits.max_queue_depth,
            _deepest_queue,
        ),
        Rule(
            "job-age",
            "A job has been waiting for {value:.0f} s; the threshold is {threshold:.0f} s.",
            limits.max_job_age,
            largest("stockqueue_oldest_waiting_job_age_seconds"),
        ),
        Rule(
            "fetch-latency",
            "Fetches of a stock take {value:.0f} s (95th percentile of the last hour); "
            "the threshold is {threshold:.0f} s.",
            limits.max_fetch_latency,
            largest("stockqueue_job_processing_seconds", job_type="stock_fetch", percentile="95"),
        ),
        Rule(
            "worker-efficiency",
            "{value:.0%} of the attempts of the last hour succeeded; the threshold is {threshold:.0%}.",
            limits.min_worker_efficiency,
            _efficiency,
            is_floor=True,
        ),
        Rule(
            "data-staleness",
            "A stale held stock was last checked {value:.0f} s ago; the threshold is {threshold:.0f} s.",
            limits.max_data_staleness,
            largest("stockqueue_stale_stock_age_seconds"),
        ),
        Rule(
            "instant-logins",
            "{value:.0%} of the logins of the last day found all held stocks fresh; the threshold is {threshold:.0%}.",
            limits.min_instant_logins,
            _instant_logins,
            is_floor=True,
        ),
        Rule(
            "calendar-ends",
            "{value:.0f} exchange calendars end within two months; a newer version of exchange_calendars is needed.",
            0,
            count_below("stockqueue_calendar_end_timestamp_seconds", (timezone.now() + CALENDAR_ENDS).timestamp()),
        ),
        Rule(
            "broker-refuses",
            "{value:.0f} jobs wait because the broker is full, does not answer, or refuses them.",
            0,
            largest("stockqueue_refused_jobs"),
        ),
        Rule(
            "outbox-age",
            "An event has been waiting for the MQTT broker for {value:.0f} s.",
            OUTBOX_AGE,
            largest("stockqueue_outbox_oldest_age_seconds"),
        ),
        Rule(
            "bridge-silent",
            "The MQTT bridge was last seen {value:.0f} s ago, or a clock was set back by as much.",
            BRIDGE_SILENT,
            largest("stockqueue_bridge_last_seen_age_seconds"),
        ),
        Rule(
            "beat-silent",
            "Beat, the scheduler, was last seen {value:.0f} s ago, or its clock is ahead by as much.",
            BEAT_SILENT,
            largest("stockqueue_beat_last_seen_age_seconds"),
        ),
        Rule(
            "workers-gone",
            "{value:.0f} workers were lost, and no worker of the same name replaced them.",
            0,
            largest("stockqueue_workers", state="gone"),
        ),
    ]


def check(now: datetime | None = None) -> list[Alert]:
    """Measure everything once, for alerts and charts; returns the alerts raised or cleared by the check.

    Safe to run twice at once. Without effect if `monitoring.enabled` is false.
    """
    if not settings.JOB_PROCESSOR.monitoring.enabled:
        return []
    now = now or timezone.now()
    samples = metrics.samples(now)
    readings.keep(samples, now)
    return list(_changes(rules(), samples, now))


def acknowledge(alerts: QuerySet[Alert], user: Any) -> list[Alert]:
    """Acknowledge open alerts for `user`; returns the alerts that were not acknowledged before."""
    found = list(alerts.filter(cleared_at=None, acknowledged_at=None))
    Alert.objects.filter(pk__in=[alert.pk for alert in found], acknowledged_at=None).update(
        acknowledged_at=timezone.now(), acknowledged_by=user
    )
    return found


def _changes(every: Sequence[Rule], samples: Samples, now: datetime) -> Iterator[Alert]:
    for rule in every:
        value = rule.measure(samples)
        if value is not None and (changed := _note(rule, value, now)):
            yield changed


def _note(rule: Rule, value: float, now: datetime) -> Alert | None:
    """Record a value; returns the alert, if the value raised or cleared it."""
    with transaction.atomic():
        alert = Alert.objects.select_for_update(no_key=True).filter(name=rule.name, cleared_at=None).first()
        if alert is None:
            if rule.is_bad(value):
                _suspect(rule, value, now)
            return None
        alert.value = value
        if rule.is_bad(value):
            return _note_bad(alert, rule, now)
        if rule.is_well(value):
            return _note_well(alert, now)
        alert.well_since = None
        alert.save(update_fields=["value", "well_since"])
        return None


def _suspect(rule: Rule, value: float, now: datetime) -> None:
    try:
        with transaction.atomic():
            Alert.objects.create(
                name=rule.name,
                value=value,
                worst=value,
                threshold=rule.threshold,
                text=rule.told(value),
                since=now,
            )
    except IntegrityError:  # a concurrent check just did
        return


def _note_bad(alert: Alert, rule: Rule, now: datetime) -> Alert | None:
    alert.worst = min(alert.worst, alert.value) if rule.is_floor else max(alert.worst, alert.value)
    alert.threshold, alert.text, alert.well_since = rule.threshold, rule.told(alert.value), None
    is_raised = alert.state == State.SUSPECTED and now - alert.since >= HOLD
    if is_raised:
        alert.state, alert.raised_at = State.RAISED, now
    alert.save()
    return alert if is_raised else None


def _note_well(alert: Alert, now: datetime) -> Alert | None:
    if alert.state == State.SUSPECTED:
        alert.delete()
        return None
    alert.well_since = alert.well_since or now
    is_cleared = now - alert.well_since >= HOLD
    if is_cleared:
        alert.state, alert.cleared_at = State.CLEARED, now
    alert.save(update_fields=["value", "well_since", "state", "cleared_at"])
    return alert if is_cleared else None


def _efficiency(samples: Samples) -> float | None:
    ended = total("stockqueue_ended_jobs")(samples) or 0
    return largest("stockqueue_worker_efficiency_ratio")(samples) if ended >= FEW else None


def _instant_logins(samples: Samples) -> float | None:
    logins = total("stockqueue_logins_last_day")(samples) or 0
    return largest("stockqueue_instant_logins_ratio")(samples) if logins >= FEW else None


def _deepest_queue(samples: Samples) -> float | None:
    depths = (total("stockqueue_jobs", queue=queue, state=Job.WAITING)(samples) for queue in Job.Queue)
    return max((depth for depth in depths if depth is not None), default=None)

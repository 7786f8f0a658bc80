"""The mapping between job types, queues, job priorities (1 is the most urgent) and the brokers' numbers."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.conf import settings

from tasks import job_types
from tasks.job_types import Place
from tasks.models import Job

BANDS = {
    Job.Queue.FOREGROUND: range(1, 4),
    Job.Queue.BACKGROUND_FETCH: range(4, 7),
    Job.Queue.BACKGROUND_ANALYSIS: range(7, 11),
}
"""The priorities of each queue."""
LEVELS = dict(zip(BANDS, ("high", "normal", "low"), strict=True))

HIGH, LOW = 2 / 3, 1 / 3
"""A score above HIGH makes a job one step more urgent than its rule says, a score below LOW one step less urgent."""

AS_THE_RULE = 2
"""The place of the kind whose urgency is exactly the trigger's rule."""

UNKNOWN = 0.5
"""The value of an unknown factor. A job with only unknown factors keeps its base priority."""

# The largest rounding error of a sum of products.
_ROUNDING = 1e-9

_USER_WAITS = (Job.Trigger.USER_LOGIN, Job.Trigger.USER_REQUEST)


class Factors(NamedTuple):
    """The factors of a job's score, each from 0 (no urgency) to 1 (highest urgency). None: unknown."""

    user_activity: float | None = None
    portfolio_value: float | None = None
    data_age: float | None = None
    market_volatility: float | None = None


class Ranked(NamedTuple):
    """A job's priority and its reason, a JSON-able value for `explain` and for an admin who asks "why 2?".

    `reason` has `trigger` and its `rule`, `queue` and its `band` ([most urgent, least urgent]), `base` (the rule
    clamped to the band), `score`, `factors` ({name: {value, weight}}, None for an unknown value), `wish` (the score's
    effect: -1 more urgent, 1 less urgent) and `moved` (the effect within the band). Analyses also have `kind` and its
    `place` (1 is the first), which moves the base.
    """

    priority: int
    reason: dict[str, Any]


def queue_for(job_type: str, trigger: str, parameters: Mapping[str, Any]) -> Job.Queue:
    """The queue of a new job: the most urgent possible queue if a user waits, else the least urgent."""
    queues = may_be_in(job_type, parameters)
    return queues[0] if trigger in _USER_WAITS else queues[-1]


def level_of(priority: int) -> str:
    """The predecessor's name for the queue of a priority: high, normal or low."""
    return LEVELS[queue_of(priority)]


def queue_of(priority: int) -> Job.Queue:
    return next(queue for queue, band in BANDS.items() if priority in band)


def may_be_in(job_type: str, parameters: Mapping[str, Any]) -> tuple[Job.Queue, ...]:
    """The possible queues of a job: the queues of its type, except foreground for a job with a range of days."""
    queues = job_types.find(job_type).queues
    return tuple(queue for queue in queues if queue != Job.Queue.FOREGROUND or "start" not in parameters)


def priority_for(trigger: str, queue: Job.Queue) -> int:
    """The configured rule of the trigger, clamped to the queue's band."""
    return _clamp(_rule_of(trigger), queue)


def rank(trigger: str, queue: Job.Queue, factors: Factors, place: Place | None = None) -> Ranked:
    """Like `priority_for`, then moved by at most one within the queue's band by the weighted sum of the factors.

    A `place` moves the base first: the first kind is one step more urgent than the rule, the second kind follows the
    rule, the third kind is one step less urgent, and so on.
    """
    rule = _rule_of(trigger)
    base = _clamp(rule, queue)
    reason_of_kind: dict[str, Any] = {}
    if place is not None:
        base = _clamp(base + place.number - AS_THE_RULE, queue)
        reason_of_kind = {"kind": place.kind, "place": place.number}
    weights = vars(settings.JOB_PROCESSOR.portfolio.priority_factors)  # no model_dump: a login ranks a hundred jobs
    values = factors._asdict()
    score = math.fsum(weights[name] * (UNKNOWN if value is None else value) for name, value in values.items())
    wish = -1 if score > HIGH + _ROUNDING else 1 if score < LOW - _ROUNDING else 0
    priority = _clamp(base + wish, queue)
    reason = {
        "trigger": str(trigger),
        "rule": rule,
        "queue": str(queue),
        "band": [BANDS[queue][0], BANDS[queue][-1]],
        "base": base,
        "score": round(score, 4),
        "factors": {
            name: {"value": None if value is None else round(value, 4), "weight": weights[name]}
            for name, value in values.items()
        },
        "wish": wish,
        "moved": priority - base,
        **reason_of_kind,
    }
    return Ranked(priority, reason)


def explain(reason: dict[str, Any]) -> str:
    """A `Ranked.reason` in plain words. An empty reason (a job without ranking) has its own sentence."""
    if not reason:
        return "No reason was recorded for this priority."
    if "set_by" in reason:
        return f"Set to {reason['priority']} by {reason['set_by']}."
    rule, (first, last), base = reason["rule"], reason["band"], reason["base"]
    parts = [f"{reason['trigger']} has priority {rule}"]
    limits = f"{reason['queue']} allows {first} to {last}"
    if "kind" in reason:
        parts.append(f"{limits}, and {reason['kind']} is number {reason['place']} of analysis_priority: {base}")
    elif base != rule:
        parts.append(f"{limits}: {base}")
    parts.append(
        f"score {reason['score']:.2f} ({', '.join(_explain_factor(*item) for item in reason['factors'].items())})"
    )
    effect = {-1: "one step more urgent", 0: "unchanged", 1: "one step less urgent"}[reason["moved"]]
    if reason["wish"] and not reason["moved"]:
        limit = (
            f"no priority more urgent than {first}" if reason["wish"] < 0 else f"no priority less urgent than {last}"
        )
        effect += f", {reason['queue']} has {limit}"
    place = {-1: "above 2/3", 0: "from 1/3 to 2/3", 1: "below 1/3"}[reason["wish"]]
    return f"{'; '.join(parts)} is {place}: {effect}."


def _explain_factor(name: str, factor: dict[str, Any]) -> str:
    value = f"unknown, {UNKNOWN}" if factor["value"] is None else f"{factor['value']:.2f}"
    return f"{name.rpartition('_')[2]} {value} x {factor['weight']:g}"


def _rule_of(trigger: str) -> int:
    rule: int = getattr(settings.JOB_PROCESSOR.jobs.priority_rules, trigger)
    return rule


def _clamp(priority: int, queue: Job.Queue) -> int:
    band = BANDS[queue]
    return min(max(priority, band[0]), band[-1])


def broker_priority(priority: int, *, amqp: bool) -> int:
    """The broker's number for a priority: Redis serves 0 first, RabbitMQ the highest number."""
    return 11 - priority if amqp else priority - 1


def priority_from_broker(number: int, *, amqp: bool) -> int:
    """The priority of a message with the broker's `number`."""
    return 11 - number if amqp else number + 1

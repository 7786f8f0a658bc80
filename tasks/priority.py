"""The one mapping between job types, queues, our priorities (1 is the most urgent) and the brokers' numbers."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from django.conf import settings

from market.models import Analysis
from tasks.models import Job

BANDS = {
    Job.Queue.FOREGROUND: range(1, 4),
    Job.Queue.BACKGROUND_FETCH: range(4, 7),
    Job.Queue.BACKGROUND_ANALYSIS: range(7, 11),
}
"""The priorities that each queue holds."""
LEVELS = dict(zip(BANDS, ("high", "normal", "low"), strict=True))

HIGH, LOW = 2 / 3, 1 / 3
"""A score above HIGH makes a job one more urgent than its rule says, one below LOW one less."""

AS_THE_RULE = 2
"""The place in `analysis_priority` of the kind that is as urgent as its trigger's rule says."""

UNKNOWN = 0.5
"""What a factor counts as of which nothing is known: it moves nothing by itself."""

# A sum of products misses the exact value by less than this.
_ROUNDING = 1e-9

_USER_WAITS = (Job.Trigger.USER_LOGIN, Job.Trigger.USER_REQUEST)


class Factors(NamedTuple):
    """What speaks for doing a job sooner, each from 0 (nothing) to 1 (everything); None where nothing is known."""

    user_activity: float | None = None
    portfolio_value: float | None = None
    data_age: float | None = None
    market_volatility: float | None = None


class Ranked(NamedTuple):
    """A job's priority, and what led to it: JSON-able, for `explain` and for an admin who asks "why 2?".

    `reason` has `trigger` and its `rule`, `queue` and its `band` ([most urgent, least urgent]), `base` (the rule
    clamped to the band), `score`, `factors` ({name: {value, weight}}, a value that is not known is None), `wish` (what
    the score asked for: -1 is one more urgent, 1 one less) and `moved` (what the band allowed of it). For an analysis
    it has `kind`, too, and the `place` of that (1 is the first) by which the base was moved.
    """

    priority: int
    reason: dict[str, Any]


def queue_for(job_type: str, trigger: str, *, has_range: bool = False) -> Job.Queue:
    """The queue of a job: a fetch for a waiting user goes to `foreground`, one with a date range is a backfill."""
    if job_type in (Job.Type.STOCK_ANALYSIS, Job.Type.STOCK_RESEARCH):
        return Job.Queue.BACKGROUND_ANALYSIS
    if job_type == Job.Type.STOCK_FETCH and trigger in _USER_WAITS and not has_range:
        return Job.Queue.FOREGROUND
    return Job.Queue.BACKGROUND_FETCH


def level_of(priority: int) -> str:
    """The predecessor's word for a priority: that of the queue that holds it."""
    return LEVELS[queue_of(priority)]


def queue_of(priority: int) -> Job.Queue:
    """The queue that holds a priority."""
    return next(queue for queue, band in BANDS.items() if priority in band)


QUEUES_OF: dict[str, tuple[Job.Queue, ...]] = {
    Job.Type.STOCK_FETCH: (Job.Queue.FOREGROUND, Job.Queue.BACKGROUND_FETCH),
    Job.Type.STOCK_BATCH_FETCH: (Job.Queue.BACKGROUND_FETCH,),
    Job.Type.STOCK_ANALYSIS: (Job.Queue.BACKGROUND_ANALYSIS,),
    Job.Type.STOCK_RESEARCH: (Job.Queue.BACKGROUND_ANALYSIS,),
    # The predecessor's name for the fetches of a login, which are of the type stock_fetch here.
    "portfolio_priority": (Job.Queue.FOREGROUND,),
}
"""The queues that jobs of a type can be in, for each name that `worker.supported_job_types` accepts."""


def may_be_in(job: Job) -> tuple[Job.Queue, ...]:
    """The queues that this job can be in: those of its type, but a backfill never keeps a user waiting."""
    if job.job_type == Job.Type.STOCK_FETCH and "start" in job.parameters:
        return (Job.Queue.BACKGROUND_FETCH,)
    return QUEUES_OF[job.job_type]


def priority_for(trigger: str, queue: Job.Queue) -> int:
    """The trigger's rule of the configuration, clamped to the queue's band."""
    return _clamp(_rule_of(trigger), queue)


def rank(trigger: str, queue: Job.Queue, factors: Factors, *, kind: str = "") -> Ranked:
    """`priority_for`, moved by at most one within the queue's band by the configured weighted sum of the factors.

    A `kind` of analysis is moved before that, by its place in `analysis_priority`: the first of the kinds is one more
    urgent than the rule, the second is as urgent, the third is one less urgent, and so on.
    """
    rule = _rule_of(trigger)
    base = _clamp(rule, queue)
    reason_of_kind: dict[str, Any] = {}
    if kind:
        place = _place_of(kind)
        base = _clamp(base + place - AS_THE_RULE, queue)
        reason_of_kind = {"kind": str(kind), "place": place}
    weights = vars(settings.JOB_PROCESSOR.portfolio.priority_factors)  # as it is: a login ranks a hundred jobs
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
    """A `Ranked.reason` in plain words. An empty one (a job that was not ranked) is told as such."""
    if not reason:
        return "Nothing was recorded about this priority."
    if "set_by" in reason:
        return f"{reason['set_by']} set it to {reason['priority']}."
    rule, (first, last), base = reason["rule"], reason["band"], reason["base"]
    parts = [f"{reason['trigger']} is {rule}"]
    limits = f"{reason['queue']} takes {first} to {last}"
    if "kind" in reason:
        parts.append(f"{limits}, and {reason['kind']} is number {reason['place']} of analysis_priority: {base}")
    elif base != rule:
        parts.append(f"{limits}: {base}")
    parts.append(
        f"score {reason['score']:.2f} ({', '.join(_explain_factor(*item) for item in reason['factors'].items())})"
    )
    effect = {-1: "one more urgent", 0: "not moved", 1: "one less urgent"}[reason["moved"]]
    if reason["wish"] and not reason["moved"]:
        limit = f"nothing more urgent than {first}" if reason["wish"] < 0 else f"nothing less urgent than {last}"
        effect += f", {reason['queue']} has {limit}"
    place = {-1: "above 2/3", 0: "from 1/3 to 2/3", 1: "below 1/3"}[reason["wish"]]
    return f"{'; '.join(parts)} is {place}: {effect}."


def _explain_factor(name: str, factor: dict[str, Any]) -> str:
    value = f"unknown, {UNKNOWN}" if factor["value"] is None else f"{factor['value']:.2f}"
    return f"{name.rpartition('_')[2]} {value} x {factor['weight']:g}"


def in_order(kinds: Iterable[Analysis.Kind]) -> list[Analysis.Kind]:
    """Kinds of analysis, each once, in the order of `analysis_priority`."""
    return sorted(set(kinds), key=lambda kind: (_place_of(kind), kind))


def _place_of(kind: str) -> int:
    """1 for the kind of analysis that runs first; those that are not named come after all others."""
    order = [str(one) for one in settings.JOB_PROCESSOR.stock_jobs.analysis.analysis_priority]
    return order.index(kind) + 1 if kind in order else len(order) + 1


def _rule_of(trigger: str) -> int:
    rule: int = getattr(settings.JOB_PROCESSOR.jobs.priority_rules, trigger)
    return rule


def _clamp(priority: int, queue: Job.Queue) -> int:
    band = BANDS[queue]
    return min(max(priority, band[0]), band[-1])


def broker_priority(priority: int, *, amqp: bool) -> int:
    """The number that the broker sorts by: Redis serves 0 first, RabbitMQ the highest."""
    return 11 - priority if amqp else priority - 1


def priority_from_broker(number: int, *, amqp: bool) -> int:
    """The priority that a message with the broker's `number` was sent with."""
    return 11 - number if amqp else number + 1

"""BUY, HOLD or SELL from signals that are weighed: what rules of several signals have in common.

A rule sums up what its signals say. It does not know what a price will do, and nothing is traded by it.
"""

import math
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from django.db import models

THRESHOLD = 0.25
"""What the sum of the votes has to reach, up or down, for anything but HOLD."""

Subject = TypeVar("Subject")


class Action(models.TextChoices):
    BUY = "BUY"
    HOLD = "HOLD"
    SELL = "SELL"


class Contribution(NamedTuple):
    """What one signal says. `vote` is -1 (sell) to 1 (buy); the weights of all signals add up to 1.

    `value` is what was measured; it and `vote` are None where that is not known.
    """

    name: str
    value: float | None
    vote: float | None
    weight: float
    reason: str


class Recommendation(NamedTuple):
    """`confidence` is 0 (might as well be another) to 1 (everything says so)."""

    action: Action
    confidence: float
    contributions: tuple[Contribution, ...]
    version: str


class Signal(NamedTuple, Generic[Subject]):
    """One thing that a rule looks at, and what it makes of it.

    The vote is in proportion to how far what is measured lies from `middle`: 1 at `full` and beyond, -1 as far on the
    other side. Where `full` is below `middle`, less speaks for buying.
    """

    name: str
    weight: float
    measure: Callable[[Subject], float | None]
    full: float
    describe: Callable[[float], str]
    label: str
    """What is measured, as the beginning of a sentence."""
    middle: float = 0.0


def weigh(subject: Subject, signals: Iterable[Signal[Subject]], version: str) -> Recommendation:
    """Sum up the signals. What is not known counts as if it spoke against the answer, whichever that is.

    So one value less never makes the answer more confident, and never turns HOLD into something else. The confidence
    of BUY and SELL is 0 at the threshold and 1 where everything says so; that of HOLD is 0 there and 1 in the middle.
    """
    contributions = tuple(_contribution(signal, subject) for signal in signals)
    at_least = math.fsum(one.weight * (-1 if one.vote is None else one.vote) for one in contributions)
    at_most = math.fsum(one.weight * (1 if one.vote is None else one.vote) for one in contributions)
    if at_least >= THRESHOLD:
        action, confidence = Action.BUY, (at_least - THRESHOLD) / (1 - THRESHOLD)
    elif at_most <= -THRESHOLD:
        action, confidence = Action.SELL, (-at_most - THRESHOLD) / (1 - THRESHOLD)
    else:
        action, confidence = Action.HOLD, 1 - max(at_most, -at_least) / THRESHOLD
    return Recommendation(action, round(min(max(confidence, 0.0), 1.0), 4), contributions, version)


def _contribution(signal: Signal[Subject], subject: Subject) -> Contribution:
    value = signal.measure(subject)
    if value is None or not math.isfinite(value):
        return Contribution(signal.name, None, None, signal.weight, f"{signal.label} is not known.")
    vote = min(max((value - signal.middle) / (signal.full - signal.middle), -1.0), 1.0)
    return Contribution(signal.name, value, vote, signal.weight, signal.describe(value))

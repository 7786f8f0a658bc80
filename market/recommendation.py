"""BUY, HOLD or SELL from weighted signals: the common part of all rules with several signals.

A rule adds up its signals. No rule predicts prices or triggers trades.
"""

import math
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from django.db import models

THRESHOLD = 0.25
"""The least absolute sum of votes for BUY or SELL."""

Subject = TypeVar("Subject")


class Action(models.TextChoices):
    BUY = "BUY"
    HOLD = "HOLD"
    SELL = "SELL"


class Contribution(NamedTuple):
    """The vote of one signal. `vote` is -1 (sell) to 1 (buy); the weights of all signals add up to 1.

    `value` is the measured value; `value` and `vote` are None if not known.
    """

    name: str
    value: float | None
    vote: float | None
    weight: float
    reason: str


class Recommendation(NamedTuple):
    """An action with its reasons; `confidence` is 0 (undecided) to 1 (all signals agree).

    `action` is None, and `confidence` 0, if too little is known for a recommendation.
    """

    action: Action | None
    confidence: float
    contributions: tuple[Contribution, ...]
    version: str


class Signal(NamedTuple, Generic[Subject]):
    """A measured property of a stock, and its vote in a rule.

    The vote is in proportion to the distance of the measured value from `middle`: 1 at `full` and beyond, -1 at the
    same distance on the opposite side. If `full` is below `middle`, lower values speak for buying.
    """

    name: str
    weight: float
    measure: Callable[[Subject], float | None]
    full: float
    describe: Callable[[float], str]
    label: str
    """The measured value, as the beginning of a sentence."""
    middle: float = 0.0


def weigh(subject: Subject, signals: Iterable[Signal[Subject]], version: str) -> Recommendation:
    """Add up the signals, and recommend what no value of an unknown signal could change; otherwise nothing.

    An unknown value counts as a vote against the recommendation, so it never raises the confidence. The confidence of
    BUY and SELL is 0 at the threshold and 1 for unanimous signals; the confidence of HOLD is 0 at the threshold and 1
    in the middle.
    """
    contributions = tuple(_contribution(signal, subject) for signal in signals)
    at_least = math.fsum(one.weight * (-1 if one.vote is None else one.vote) for one in contributions)
    at_most = math.fsum(one.weight * (1 if one.vote is None else one.vote) for one in contributions)
    action, confidence = _judge(at_least, at_most)
    return Recommendation(action, round(min(max(confidence, 0.0), 1.0), 4), contributions, version)


def _judge(at_least: float, at_most: float) -> tuple[Action | None, float]:
    """The action and its confidence for a sum of votes between two bounds."""
    if at_least >= THRESHOLD:
        return Action.BUY, (at_least - THRESHOLD) / (1 - THRESHOLD)
    if at_most <= -THRESHOLD:
        return Action.SELL, (-at_most - THRESHOLD) / (1 - THRESHOLD)
    if max(at_most, -at_least) < THRESHOLD:
        return Action.HOLD, 1 - max(at_most, -at_least) / THRESHOLD
    return None, 0.0


def _contribution(signal: Signal[Subject], subject: Subject) -> Contribution:
    value = signal.measure(subject)
    if value is None or not math.isfinite(value):
        return Contribution(signal.name, None, None, signal.weight, f"{signal.label} is not known.")
    vote = min(max((value - signal.middle) / (signal.full - signal.middle), -1.0), 1.0)
    return Contribution(signal.name, value, vote, signal.weight, signal.describe(value))

"""BUY, HOLD or SELL from signals that are weighed, and the rule by technical indicators: fixed, with its reasons.

A rule sums up what its signals say. It does not know what a price will do, and nothing is traded by it.
"""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from django.db import models

if TYPE_CHECKING:
    from market.indicators import Indicators

VERSION = "technical/1"
"""Changes whenever the same indicators may give another answer."""
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


def recommend(indicators: "Indicators") -> Recommendation:
    """What the indicators speak for, by `weigh`.

    A higher MACD histogram never speaks for selling; a higher RSI, or an average of 200 days that is higher, never
    for buying.
    """
    return weigh(indicators, _SIGNALS, VERSION)


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


def _relative(value: float | None, base: float | None) -> float | None:
    """How far above `base` a value is, as a part of it; None where one is not known, or not above 0."""
    if value is None or base is None or value <= 0 or base <= 0:
        return None
    return value / base - 1


def _macd_of_close(indicators: "Indicators") -> float | None:
    if indicators.macd_histogram is None or indicators.close <= 0:
        return None
    return indicators.macd_histogram / indicators.close


def _place_in_bands(indicators: "Indicators") -> float | None:
    """-1 at the lower Bollinger band, 0 in the middle, 1 at the upper one; None where they have no width."""
    upper, middle = indicators.bollinger_upper, indicators.bollinger_middle
    if upper is None or middle is None or upper <= middle:
        return None
    return (indicators.close - middle) / (upper - middle)


def _rsi_from_middle(indicators: "Indicators") -> float | None:
    return None if indicators.rsi_14 is None else indicators.rsi_14 - 50


def _above(subject: str, base: str) -> Callable[[float], str]:
    return lambda value: f"{subject} is {abs(value):.1%} {'above' if value >= 0 else 'below'} {base}."


def _describe_macd(value: float) -> str:
    return f"MACD is {abs(value):.2%} of the close {'above' if value >= 0 else 'below'} its signal line."


def _describe_rsi(value: float) -> str:
    rsi = value + 50
    place = "overbought, from 70 on" if rsi >= 70 else "oversold, up to 30" if rsi <= 30 else "between 30 and 70"
    return f"RSI is {rsi:.1f}: {place}."


def _describe_place(value: float) -> str:
    if abs(value) > 1:
        return f"The close is {'above the upper' if value > 0 else 'below the lower'} Bollinger band."
    side = "upper" if value >= 0 else "lower"
    return f"The close is {abs(value):.0%} of the way from the middle to the {side} Bollinger band."


_SIGNALS: "tuple[Signal[Indicators], ...]" = (
    Signal(
        "close_to_sma_200",
        0.25,
        lambda found: _relative(found.close, found.sma_200),
        0.10,
        _above("The close", "its average of 200 days"),
        "The close's distance from its average of 200 days",
    ),
    Signal(
        "sma_50_to_sma_200",
        0.20,
        lambda found: _relative(found.sma_50, found.sma_200),
        0.05,
        _above("The average of 50 days", "that of 200 days"),
        "The distance of the average of 50 days from that of 200 days",
    ),
    Signal(
        "close_to_sma_50",
        0.15,
        lambda found: _relative(found.close, found.sma_50),
        0.05,
        _above("The close", "its average of 50 days"),
        "The close's distance from its average of 50 days",
    ),
    Signal("macd_to_signal", 0.20, _macd_of_close, 0.01, _describe_macd, "MACD's distance from its signal line"),
    Signal("rsi_to_50", 0.15, _rsi_from_middle, -20.0, _describe_rsi, "RSI"),
    Signal("close_in_bands", 0.05, _place_in_bands, -1.0, _describe_place, "The close's place in the Bollinger bands"),
)

"""BUY, HOLD or SELL from technical indicators, by a fixed rule that shows its reasons (docs/analysis.md)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from market.recommendation import Recommendation, Signal, weigh

if TYPE_CHECKING:
    from market.analysis.technical.indicators import Indicators

VERSION = "technical/2"
"""Changes whenever the same indicators may lead to another recommendation."""


def recommend_by_indicators(indicators: "Indicators") -> Recommendation:
    """Recommend an action from the indicators, by `weigh`.

    A higher MACD histogram never speaks for selling; a higher RSI, or a higher average of 200 days, never for buying.
    """
    return weigh(indicators, _SIGNALS, VERSION)


def _relative(value: float | None, base: float | None) -> float | None:
    """The distance of `value` above `base`, as a fraction of `base`; None if either is unknown or not above 0."""
    if value is None or base is None or value <= 0 or base <= 0:
        return None
    return value / base - 1


def _macd_of_close(indicators: "Indicators") -> float | None:
    if indicators.macd_histogram is None or indicators.close <= 0:
        return None
    return indicators.macd_histogram / indicators.close


def _place_in_bands(indicators: "Indicators") -> float | None:
    """-1 at the lower Bollinger band, 0 in the middle, 1 at the upper band; None for bands without a width."""
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
    place = "overbought (70 or more)" if rsi >= 70 else "oversold (30 or less)" if rsi <= 30 else "between 30 and 70"
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

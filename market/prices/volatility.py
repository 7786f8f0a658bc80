"""The volatility of a stock's price."""

import itertools
import math
from collections.abc import Sequence

RETURNS = 20
"""Trading days that count, about a month."""

TRADING_DAYS_A_YEAR = 252
# The annual volatility that counts as the maximum; large companies have 0.2 to 0.4.
_EXTREME = 1.0


def realised_volatility(closes: Sequence[float]) -> float | None:
    """The standard deviation of the last 20 daily log returns, annualised: 0.35 means 35 %.

    `closes` holds one close for each trading day, oldest first. None for fewer than 21 closes, or if any of the last
    21 is not above 0.
    """
    last = closes[-(RETURNS + 1) :]
    if len(last) <= RETURNS or min(last) <= 0:
        return None
    logs = [math.log(close) for close in last]
    returns = [after - before for before, after in itertools.pairwise(logs)]
    # statistics.stdev computes with fractions, and takes seven times as long.
    mean = math.fsum(returns) / RETURNS
    variance = math.fsum((one - mean) ** 2 for one in returns) / (RETURNS - 1)
    return math.sqrt(variance * TRADING_DAYS_A_YEAR)


def volatility_factor(volatility: float | None) -> float | None:
    """0 (no move) to 1 (100 % a year or more); None for an unknown volatility."""
    return None if volatility is None else min(1.0, volatility / _EXTREME)

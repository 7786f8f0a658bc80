"""BUY, HOLD or SELL from a company's fundamentals, by a fixed rule that shows its reasons.

Each signal votes from -1 (sell) to 1 (buy), in proportion to its distance from its middle:

| signal                                             | weight | full for selling | middle | full for buying |
| -------------------------------------------------- | ------ | ---------------- | ------ | --------------- |
| `earnings_yield`: a year's earnings, of the price  | 0.25   | 0 %, or a loss   | 5 %    | 10 %            |
| `profit_margin`                                    | 0.15   | -10 %            | 5 %    | 20 %            |
| `return_on_equity`                                 | 0.15   | -5 %             | 10 %   | 25 %            |
| `revenue_growth`, in a year                        | 0.15   | -10 %            | 5 %    | 20 %            |
| `earnings_growth`, in a year                       | 0.15   | -20 %            | 5 %    | 30 %            |
| `debt_to_equity`                                   | 0.15   | 2                | 1      | 0               |

The earnings yield is 1 / P/E. Unlike the P/E, the yield does not jump when a small profit becomes a loss. A company
with a loss has no P/E; its yield counts as 0, which votes fully for selling. A debt to equity below 0 means that
losses have consumed the equity, and counts as not known. The votes are added up and judged as in `technical/2`
(`recommendation.weigh`): BUY from 0.25 on, SELL from -0.25 down. An unknown value counts as a vote against the result;
if it could change the result, there is none.

So a higher margin, return or growth never speaks for selling, and neither does a lower P/E above 0; more debt never
speaks for buying. The limits are the same for all sectors: a bank, whose debt is its trade, often lacks the debt
figure and gets a recommendation less often. Only ratios and fractions count. Free cash flow over market value is left
out, because the two are in different currencies if a company does not report in the currency of its share.

The rule was not tested to predict anything, and triggers no trades.
"""

from collections.abc import Callable

from market.recommendation import Recommendation, Signal, weigh
from market.sources.base import Fundamentals

VERSION = "fundamental/2"
"""Changes whenever the same fundamentals may lead to another recommendation."""


def recommend_by_fundamentals(found: Fundamentals) -> Recommendation:
    return weigh(found, _SIGNALS, VERSION)


def _earnings_yield(found: Fundamentals) -> float | None:
    """A year's earnings as a fraction of the price; 0 for a loss of unknown size."""
    if found.trailing_pe:
        return 1 / found.trailing_pe
    return 0.0 if found.trailing_eps is not None and found.trailing_eps < 0 else None


def _debt_to_equity(found: Fundamentals) -> float | None:
    return None if found.debt_to_equity is None or found.debt_to_equity < 0 else found.debt_to_equity


def _describe_yield(value: float) -> str:
    if value <= 0:
        return "The company made a loss in the last four quarters."
    return f"A year's earnings are {value:.1%} of the price (P/E {1 / value:.1f})."


def _describe_margin(value: float) -> str:
    return f"The {'profit' if value >= 0 else 'loss'} is {abs(value):.1%} of the revenue."


def _describe_return(value: float) -> str:
    return f"A year's {'profit' if value >= 0 else 'loss'} is {abs(value):.1%} of the equity."


def _describe_growth(subject: str) -> Callable[[float], str]:
    return lambda value: (
        f"The last quarter's {subject} {abs(value):.1%} {'higher' if value >= 0 else 'lower'} than a year before."
    )


_SIGNALS: tuple[Signal[Fundamentals], ...] = (
    Signal("earnings_yield", 0.25, _earnings_yield, 0.10, _describe_yield, "The earnings yield", middle=0.05),
    Signal(
        "profit_margin",
        0.15,
        lambda found: found.profit_margin,
        0.20,
        _describe_margin,
        "The profit margin",
        middle=0.05,
    ),
    Signal(
        "return_on_equity",
        0.15,
        lambda found: found.return_on_equity,
        0.25,
        _describe_return,
        "The return on equity",
        middle=0.10,
    ),
    Signal(
        "revenue_growth",
        0.15,
        lambda found: found.revenue_growth,
        0.20,
        _describe_growth("revenue is"),
        "The growth of the revenue",
        middle=0.05,
    ),
    Signal(
        "earnings_growth",
        0.15,
        lambda found: found.earnings_growth,
        0.30,
        _describe_growth("earnings are"),
        "The growth of the earnings",
        middle=0.05,
    ),
    Signal(
        "debt_to_equity",
        0.15,
        _debt_to_equity,
        0.0,
        lambda value: f"The debt is {value:.2f} times the equity.",
        "The debt's ratio to the equity",
        middle=1.0,
    ),
)

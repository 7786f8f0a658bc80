"""Yahoo's summary of a company, as passed on by yfinance: JSON with parts that may be missing or of another type."""

from datetime import UTC, date, datetime
from typing import Any

from market.sources.base import Fundamentals
from market.text import clean_text

MODULES = ("financialData", "defaultKeyStatistics", "summaryDetail", "assetProfile")
"""The parts of a summary to request and read."""

LARGEST = 1e18
"""No real amount in any currency is as large; larger numbers are mistakes."""

_NUMBERS = {
    "market_cap": ("summaryDetail", "marketCap"),
    "enterprise_value": ("defaultKeyStatistics", "enterpriseValue"),
    "trailing_pe": ("summaryDetail", "trailingPE"),
    "forward_pe": ("summaryDetail", "forwardPE"),
    "price_to_book": ("defaultKeyStatistics", "priceToBook"),
    "price_to_sales": ("summaryDetail", "priceToSalesTrailing12Months"),
    "ev_to_ebitda": ("defaultKeyStatistics", "enterpriseToEbitda"),
    "trailing_eps": ("defaultKeyStatistics", "trailingEps"),
    "gross_margin": ("financialData", "grossMargins"),
    "operating_margin": ("financialData", "operatingMargins"),
    "profit_margin": ("financialData", "profitMargins"),
    "return_on_equity": ("financialData", "returnOnEquity"),
    "revenue_growth": ("financialData", "revenueGrowth"),
    "earnings_growth": ("financialData", "earningsGrowth"),
    "total_revenue": ("financialData", "totalRevenue"),
    "total_debt": ("financialData", "totalDebt"),
    "total_cash": ("financialData", "totalCash"),
    "debt_to_equity": ("financialData", "debtToEquity"),
    "current_ratio": ("financialData", "currentRatio"),
    "free_cashflow": ("financialData", "freeCashflow"),
    "dividend_rate": ("summaryDetail", "dividendRate"),
    "dividend_yield": ("summaryDetail", "dividendYield"),
    "payout_ratio": ("summaryDetail", "payoutRatio"),
}
"""The module and the name of each number."""

_MIXED = ("price_to_book", "price_to_sales")
"""Ratios that Yahoo computes across currencies: rupees by dollars for Infosys in Mumbai."""


def read_summary(answer: Any) -> Fundamentals | None:
    """The numbers of an answer; None without any number."""
    modules = _first(_part(_part(answer, "quoteSummary"), "result"))
    numbers = {name: _number(_value(modules, *place)) for name, place in _NUMBERS.items()}
    if all(number is None for number in numbers.values()):
        return None
    if numbers["debt_to_equity"] is not None:
        numbers["debt_to_equity"] /= 100  # Yahoo sends per cent here, and fractions everywhere else
    currency = _text(_value(modules, "financialData", "financialCurrency"), 8)
    price_currency = _text(_value(modules, "summaryDetail", "currency"), 8)
    if currency != price_currency:
        numbers |= dict.fromkeys(_MIXED)
    return Fundamentals(
        currency=currency,
        price_currency=price_currency,
        sector=_text(_value(modules, "assetProfile", "sector"), 100),
        industry=_text(_value(modules, "assetProfile", "industry"), 100),
        most_recent_quarter=_date(_value(modules, "defaultKeyStatistics", "mostRecentQuarter")),
        ex_dividend_date=_date(_value(modules, "summaryDetail", "exDividendDate")),
        **numbers,
    )


def _first(node: Any) -> Any:
    return node[0] if isinstance(node, list) and node else None


def _part(node: Any, name: str) -> Any:
    return node.get(name) if isinstance(node, dict) else None


def _value(modules: Any, module: str, name: str) -> Any:
    """The value at a place, or its `raw` part, if Yahoo sends a number together with its text."""
    found = _part(_part(modules, module), name)
    return found.get("raw") if isinstance(found, dict) else found


def _number(value: Any) -> float | None:
    """A finite number; None for texts ("Infinity") and for NaN, which is not less than anything."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
        return float(value)
    return None


def _date(value: Any) -> date | None:
    """The day of a time in Unix seconds, in UTC like Yahoo's days; None for 0 and below."""
    seconds = _number(value)
    if seconds is None or seconds <= 0:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).date()
    except (ValueError, OverflowError, OSError):  # after the year 9999
        return None


def _text(value: Any, longest: int) -> str:
    return clean_text(value, longest) if isinstance(value, str) else ""

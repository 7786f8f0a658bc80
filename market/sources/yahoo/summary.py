"""Yahoo's summary of a company, as passed on by yfinance: JSON with parts that may be missing or of another type."""

from datetime import date
from typing import Any

from market.sources.base import Fundamentals
from market.sources.yahoo.json_values import moment_of, number_of, text_of

MODULES = ("financialData", "defaultKeyStatistics", "summaryDetail", "assetProfile")
"""The parts of a summary to request and read."""

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
    numbers = {name: number_of(_value(modules, *place)) for name, place in _NUMBERS.items()}
    if all(number is None for number in numbers.values()):
        return None
    if numbers["debt_to_equity"] is not None:
        numbers["debt_to_equity"] /= 100  # Yahoo sends per cent here, and fractions everywhere else
    currency = text_of(_value(modules, "financialData", "financialCurrency"), 8)
    price_currency = text_of(_value(modules, "summaryDetail", "currency"), 8)
    if currency != price_currency:
        numbers |= dict.fromkeys(_MIXED)
    return Fundamentals(
        currency=currency,
        price_currency=price_currency,
        sector=text_of(_value(modules, "assetProfile", "sector"), 100),
        industry=text_of(_value(modules, "assetProfile", "industry"), 100),
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


def _date(value: Any) -> date | None:
    """The day of a time in Unix seconds, in UTC like Yahoo's days."""
    moment = moment_of(value)
    return moment and moment.date()

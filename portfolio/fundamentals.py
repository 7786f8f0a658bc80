"""The fundamentals of a stock as texts for its page."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from django.contrib.humanize.templatetags.humanize import intword

from market.models import Analysis

NOT_KNOWN = "unknown"


class Group(NamedTuple):
    """A group of figures: a title, and rows of a label and a text."""

    title: str
    rows: Sequence[tuple[str, str]]


class _Row(NamedTuple):
    label: str
    name: str
    """The name of the value."""
    write: Callable[[Any, Mapping[str, Any]], str]


def groups_of(analysis: Analysis | None) -> list[Group]:
    """The values of a snapshot in groups; empty without a snapshot or data."""
    if analysis is None or not analysis.values:
        return []
    return [Group(title, [_written(row, analysis.values) for row in rows]) for title, rows in _GROUPS]


def _written(row: _Row, values: Mapping[str, Any]) -> tuple[str, str]:
    value = values.get(row.name)
    return row.label, NOT_KNOWN if value is None else row.write(value, values)


def _ratio(value: float, _values: Mapping[str, Any]) -> str:
    return f"{value:,.2f}"


def _part(value: float, _values: Mapping[str, Any]) -> str:
    return f"{value:,.1%}".replace("%", "\xa0%")


def _change(value: float, _values: Mapping[str, Any]) -> str:
    return f"{value:+,.1%}".replace("%", "\xa0%")


def _day(value: str, _values: Mapping[str, Any]) -> str:
    """A day is stored as text already."""
    return value


def _of_statements(value: float, values: Mapping[str, Any]) -> str:
    """An amount in the currency of the statements; a large amount in words."""
    number = f"{value:,.2f}" if abs(value) < 1e6 else str(intword(round(value)))
    return f"{number} {values.get('currency') or ''}".strip()


def _of_prices(value: float, values: Mapping[str, Any]) -> str:
    """An amount of the market or a share. With two possible currencies, the text names none."""
    is_told = values.get("price_currency") == values.get("currency")
    return _of_statements(value, values if is_told else {})


_GROUPS: Sequence[tuple[str, Sequence[_Row]]] = (
    (
        "Valuation",
        (
            _Row("Market cap", "market_cap", _of_prices),
            _Row("Enterprise value", "enterprise_value", _of_prices),
            _Row("Price/earnings", "trailing_pe", _ratio),
            _Row("Forward price/earnings", "forward_pe", _ratio),
            _Row("Price/book", "price_to_book", _ratio),
            _Row("Price/sales", "price_to_sales", _ratio),
            _Row("EV/EBITDA", "ev_to_ebitda", _ratio),
            _Row("Earnings per share", "trailing_eps", _of_prices),
        ),
    ),
    (
        "Margins",
        (
            _Row("Gross margin", "gross_margin", _part),
            _Row("Operating margin", "operating_margin", _part),
            _Row("Profit margin", "profit_margin", _part),
            _Row("Return on equity", "return_on_equity", _part),
        ),
    ),
    (
        "Growth in a year",
        (
            _Row("Quarterly revenue", "revenue_growth", _change),
            _Row("Quarterly earnings", "earnings_growth", _change),
            _Row("Revenue, twelve months", "total_revenue", _of_statements),
        ),
    ),
    (
        "Debt",
        (
            _Row("Total debt", "total_debt", _of_statements),
            _Row("Cash", "total_cash", _of_statements),
            _Row("Debt/equity", "debt_to_equity", _ratio),
            _Row("Current ratio", "current_ratio", _ratio),
            _Row("Free cash flow", "free_cashflow", _of_statements),
        ),
    ),
    (
        "Dividends",
        (
            _Row("Per share and year", "dividend_rate", _of_prices),
            _Row("Yield", "dividend_yield", _part),
            _Row("Payout ratio", "payout_ratio", _part),
            _Row("Ex-dividend date", "ex_dividend_date", _day),
        ),
    ),
)

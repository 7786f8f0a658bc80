"""Yahoo's summaries of companies: the shape of what `/v10/finance/quoteSummary` answers with `formatted=false`."""

from collections.abc import Iterable, Mapping
from typing import Any

CRUMB = "stand-in"

Modules = Mapping[str, Mapping[str, Any]]

_COMPANY: Modules = {
    "financialData": {
        "maxAge": 86400,
        "currentPrice": 100.0,
        "totalCash": 20_000_000_000,
        "totalDebt": 30_000_000_000,
        "currentRatio": 1.4,
        "totalRevenue": 90_000_000_000,
        "debtToEquity": 60.0,
        "returnOnEquity": 0.22,
        "freeCashflow": 12_000_000_000,
        "earningsGrowth": 0.12,
        "revenueGrowth": 0.08,
        "grossMargins": 0.45,
        "operatingMargins": 0.21,
        "profitMargins": 0.16,
        "financialCurrency": "USD",
    },
    "defaultKeyStatistics": {
        "maxAge": 1,
        "enterpriseValue": 190_000_000_000,
        "profitMargins": 0.16,
        "priceToBook": 2.75,
        "mostRecentQuarter": 1790726400,  # 2026-09-30
        "trailingEps": 8.0,
        "enterpriseToEbitda": 8.5,
        "lastSplitFactor": None,
    },
    "summaryDetail": {
        "maxAge": 1,
        "previousClose": 99.5,
        "dividendRate": 2.0,
        "dividendYield": 0.02,
        "exDividendDate": 1791763200,  # 2026-10-12
        "payoutRatio": 0.25,
        "trailingPE": 12.5,
        "forwardPE": 11.0,
        "marketCap": 180_000_000_000,
        "priceToSalesTrailing12Months": 2.0,
        "currency": "USD",
        "tradeable": False,
    },
    "assetProfile": {
        "country": "United States",
        "industry": "Consumer Electronics",
        "sector": "Technology",
        "companyOfficers": [],
        "maxAge": 86400,
    },
}


def summary(**changes: Any) -> Modules:
    """A sound company's; `changes` are by Yahoo's names, such as `trailingPE`, and `...` takes a value away."""
    if unknown := changes.keys() - {name for module in _COMPANY.values() for name in module}:
        raise KeyError(*unknown)
    return {
        module: {
            name: changes.get(name, value) for name, value in values.items() if changes.get(name, value) is not ...
        }
        for module, values in _COMPANY.items()
    }


def summary_of_an_index() -> Modules:
    """What is known of something that is no company: prices."""
    return {"summaryDetail": {"maxAge": 1, "previousClose": 6900.0, "currency": "USD", "tradeable": False}}


def summary_answer(symbol: str, known: Modules | None, params: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    """Status and body for a request with these parameters: the modules that it asks for, as far as there are any."""
    if params.get("crumb") != CRUMB:
        error = {"code": "Unauthorized", "description": "Invalid Crumb"}
        return 401, {"finance": {"result": None, "error": error}}
    if known is None:
        return _not_found(f"Quote not found for symbol: {symbol}")
    asked_for = params.get("modules", "")
    found = _of(known, asked_for.split(","))
    if not found:
        return _not_found(f"No fundamentals data found for any of the summaryTypes={asked_for}")
    return 200, summary_body(found)


def summary_body(modules: Any) -> dict[str, Any]:
    """The whole answer."""
    return {"quoteSummary": {"result": [modules], "error": None}}


def _of(known: Modules, names: Iterable[str]) -> dict[str, Any]:
    return {name: known[name] for name in names if name in known}


def _not_found(description: str) -> tuple[int, dict[str, Any]]:
    return 404, {"quoteSummary": {"result": None, "error": {"code": "Not Found", "description": description}}}

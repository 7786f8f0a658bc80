"""The results and the progress of jobs about stocks, as texts."""

from collections.abc import Mapping
from typing import Any


def describe_fetch(result: Mapping[str, Any]) -> str:
    """Describe a completed fetch: the number of stored bars, or why none was stored."""
    if "reason" in result:
        return str(result["reason"])
    if "days_fetched" in result:
        return f"{result['records_stored']} of {result['days_fetched']} bars stored, from {result['source']}"
    return ""


def describe_batch(result: Mapping[str, Any]) -> str:
    """Describe a completed batch: the number of fetched stocks, or why none was fetched."""
    if "reason" in result:
        return str(result["reason"])
    if "symbols_processed" in result:
        stocks = f"{result.get('successful_symbols', 0)} of {result['symbols_processed']} stocks"
        return f"{stocks}, {result.get('records_stored', 0)} bars stored"
    return ""


def describe_member(facts: Mapping[str, Any]) -> str:
    """Describe the result of one stock of a batch, and the batch's progress."""
    done = f"{facts.get('done')} of {facts.get('total')}: {facts.get('symbol')}"
    if not facts.get("success", True):
        return f"{done}, {facts.get('error')}"
    if "skipped" in facts:
        return f"{done}, skipped: {facts['skipped']}"
    return f"{done}, {facts.get('reason') or str(facts.get('records', 0)) + ' bars stored'}"


def describe_analysis(result: Mapping[str, Any]) -> str:
    """Describe a completed analysis or research: its recommendation, or why none was made."""
    if result.get("recommendation"):
        found = f"{result['recommendation']}, confidence {result['confidence']:.2f}"
        return f"{found}{_basis(result)}{_because(result)}"
    if "reason" in result:
        return str(result["reason"])
    if "new" in result:
        return f"{_count(result, 'headlines')} of the last days, {result['new']} new"
    return ""


def _basis(result: Mapping[str, Any]) -> str:
    """The data behind a recommendation, as far as the result names the data."""
    for name, of in (("bars", "until"), ("headlines", "until"), ("values", "of")):
        if name in result:
            return f", of {_count(result, name)} {of} {result.get('data_as_of')}"
    return ""


def _count(result: Mapping[str, Any], name: str) -> str:
    """`1 headline`, `2 headlines`."""
    return f"{result[name]} {name if result[name] != 1 else name.removesuffix('s')}"


def _because(result: Mapping[str, Any]) -> str:
    return f"; {result['reason']}" if "reason" in result else ""

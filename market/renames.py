"""New symbols: what a source lists under the name of a stock that it does not know any more, or has no prices of."""

from datetime import date, timedelta

from django.db import transaction

from market.models import Stock
from market.prices.store import MISSES_UNTIL_PARKED
from market.sources import search_by_name

SEARCH_EVERY = timedelta(days=7)
LONG_WITHOUT_BARS = timedelta(days=30)
"""A stock whose newest bar is older may have a new symbol, although the source still knows the old symbol."""


def find_new_symbol(symbol: str, today: date, *, is_unknown: bool) -> str | None:
    """The only other symbol of the stock's name; empty if there is none or more than one, None if no search is due.

    Among several, the only symbol at the stock's exchange counts. `is_unknown`: no source knows `symbol` today.
    Raises SourceError.
    """
    stock = Stock.objects.filter(symbol=symbol).first()
    if stock is None or not _is_due(stock, today, is_unknown):
        return None
    name = _plain(stock.name)
    found = [one for one in search_by_name(stock.name) if _plain(one.name) == name and one.symbol != symbol]
    at_exchange = {one.symbol for one in found if one.exchange == stock.exchange}
    symbols = at_exchange or {one.symbol for one in found}
    return symbols.pop() if len(symbols) == 1 else ""


class NotRenamed(Exception):
    """The stock cannot get a new symbol; the message is for the operator."""


def rename(stock: Stock) -> str:
    """Give a stock the new symbol that was found; return the old one. Its bars, analyses and holdings stay.

    NotRenamed if no new symbol is known, or if another stock has it.
    """
    old, new = stock.symbol, stock.renamed_to
    if not new:
        raise NotRenamed(f"No new symbol of {old} is known.")
    with transaction.atomic():
        if Stock.objects.filter(symbol=new).exists():
            raise NotRenamed(f"{new} is another stock already; move the holdings of {old} there.")
        stock.symbol, stock.renamed_to, stock.status = new, "", Stock.Status.ACTIVE
        stock.misses, stock.missed_on, stock.checked_at = 0, None, None
        stock.save()
    return old


def _is_due(stock: Stock, today: date, is_unknown: bool) -> bool:
    if not stock.name or (stock.searched_on is not None and today - stock.searched_on < SEARCH_EVERY):
        return False
    if is_unknown:
        missed_before = stock.misses - (stock.missed_on == today)
        return missed_before + 1 >= MISSES_UNTIL_PARKED
    return stock.last_bar_on is not None and today - stock.last_bar_on > LONG_WITHOUT_BARS


def _plain(name: str) -> str:
    """A name without its case, spaces and punctuation."""
    return "".join(sign for sign in name.casefold() if sign.isalnum())

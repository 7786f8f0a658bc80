"""The newest trusted bars of stocks, inside other queries."""

from django.db.models import OuterRef, Subquery

from market.models import PriceBar


def latest_bar(field: str, *, stock: str, place: int = 0) -> Subquery:
    """A field of a stock's newest trusted bar, or of the bar `place` places before it."""
    bars = PriceBar.objects.trusted().filter(stock=OuterRef(stock)).order_by("-date")
    return Subquery(bars.values(field)[place : place + 1])

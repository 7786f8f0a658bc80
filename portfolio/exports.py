"""Holdings as CSV: a portfolio to import again, and a table of holdings with their values."""

import csv
import io
import zipfile
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.http import content_disposition_header
from django.utils.text import get_valid_filename

from market.prices.latest import latest_bar
from portfolio.models import Holding, Portfolio

PLAIN_COLUMNS = ("symbol", "shares", "buy_price")
OWN_COLUMNS = ("portfolio", *PLAIN_COLUMNS)
VALUE_COLUMNS = (
    *("user", "portfolio", "symbol", "name", "currency", "shares", "buy_price"),
    *("close", "close_date", "value", "gain"),
)

# Characters that start a formula in spreadsheets (OWASP, "CSV Injection"); the last four are full-width = + - @.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def export_portfolios(portfolios: QuerySet[Portfolio]) -> tuple[str, bytes]:
    """A file's name and content: `symbol,shares,buy_price` of a portfolio, or a ZIP with a file for each."""
    rows: dict[int, list[Sequence[object]]] = {}
    holdings = Holding.objects.filter(portfolio__in=portfolios).order_by("stock__symbol")
    for portfolio, *row in holdings.values_list("portfolio", "stock__symbol", "shares", "buy_price"):
        rows.setdefault(portfolio, []).append(row)
    files = {
        # The number separates names that differ only in characters forbidden in file names.
        get_valid_filename(f"{portfolio.user.username}-{portfolio.name}-{portfolio.pk}.csv"): _write(
            PLAIN_COLUMNS, rows.get(portfolio.pk, [])
        )
        for portfolio in portfolios.select_related("user")
    }
    if len(files) == 1:
        return next(iter(files.items()))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return "portfolios.zip", archive.getvalue()


def download(name: str, content: bytes) -> HttpResponse:
    """The answer with which a browser stores an export: a CSV file, or a ZIP if the name says so."""
    kind = "application/zip" if name.endswith(".zip") else "text/csv; charset=utf-8"
    disposition = content_disposition_header(as_attachment=True, filename=name) or "attachment"
    return HttpResponse(content, content_type=kind, headers={"Content-Disposition": disposition})


def export_own(user: User) -> bytes:
    """All holdings of a user with OWN_COLUMNS, to import again: the names of the portfolios are in the file."""
    holdings = Holding.objects.filter(portfolio__user=user).order_by("portfolio__name", "stock__symbol")
    rows = holdings.values_list("portfolio__name", "stock__symbol", "shares", "buy_price")
    return b"\xef\xbb\xbf" + _write(OWN_COLUMNS, rows)


def export_values(holdings: QuerySet[Holding]) -> bytes:
    """A table with VALUE_COLUMNS, in a single query. Money is in the stock's currency, and empty if not known.

    The table begins with a byte order mark: without the mark, Excel does not read UTF-8.
    """
    chosen = (
        holdings.select_related("portfolio__user", "stock")
        .annotate(close=latest_bar("close", stock="stock"), close_date=latest_bar("date", stock="stock"))
        .order_by("portfolio__user__username", "portfolio__name", "stock__symbol")
    )
    return b"\xef\xbb\xbf" + _write(VALUE_COLUMNS, (_row_with_value(holding) for holding in chosen))


def _row_with_value(holding: Any) -> Sequence[object]:
    close = None if holding.close is None else Decimal(repr(holding.close))
    cost = holding.buy_price
    return (
        holding.portfolio.user.username,
        holding.portfolio.name,
        holding.stock.symbol,
        holding.stock.name,
        holding.stock.currency,
        holding.shares,
        cost,
        close,
        holding.close_date,
        None if close is None else round(close * holding.shares, 8),
        None if close is None or cost is None else round((close - cost) * holding.shares, 8),
    )


def _write(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    """Numbers as text, without zeros at their end; an apostrophe before text that would be a formula."""
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

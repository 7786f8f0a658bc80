from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from portfolio.exports import download, export_own, export_values
from portfolio.holdings import BY_VALUE, SORTS, fetches_in, statements, stocks_of
from portfolio.models import Holding, Portfolio
from portfolio.price_alerts.notices import unseen_notices
from portfolio.refreshing import refresh_prices
from portfolio.splits.notes import split_notes
from portfolio.visit import visit_of
from stockqueue.signed_in import one_change_at_a_time, signed_in

ROWS_AT_ONCE = 100
"""The rows of a portfolio in the page's first answer: the others follow, so that a large portfolio appears as soon."""


@login_required
@never_cache
@require_GET
def portfolio(request: HttpRequest) -> HttpResponse:
    """The user's holdings, each with price, value and freshness."""
    return render(request, "portfolio/portfolio.html", _holdings_of(request))


@login_required
@never_cache
@require_GET
def holdings(request: HttpRequest) -> HttpResponse:
    """The tables alone; the page compares itself with them where the server sends no changes."""
    shown = _holdings_of(request) | {"unseen": unseen_notices(signed_in(request))}
    return render(request, "portfolio/holdings.html", shown)


@login_required
@never_cache
@require_GET
def rows(request: HttpRequest, pk: int) -> HttpResponse:
    """The rows of a large portfolio that its page leaves out at first."""
    shown = statements(signed_in(request), _sort_of(request))
    statement = next((one for one in shown if one.portfolio.pk == pk), None)
    if statement is None:
        raise Http404
    return render(request, "portfolio/rows.html", {"positions": statement.positions[ROWS_AT_ONCE:]})


@login_required
@require_POST
@one_change_at_a_time
def refresh(request: HttpRequest) -> HttpResponse:
    """Request fresh prices of all stocks of the user, except stocks refreshed a moment ago."""
    user = signed_in(request)
    messages.info(request, str(refresh_prices(stocks_of(Portfolio.objects.filter(user=user)), user)))
    return redirect("portfolio")


@login_required
@never_cache
@require_GET
def export_holdings(request: HttpRequest) -> HttpResponse:
    """All holdings of the user as a CSV file, to import again."""
    return download("holdings.csv", export_own(signed_in(request)))


@login_required
@never_cache
@require_GET
def export_with_values(request: HttpRequest) -> HttpResponse:
    """All holdings of the user as a CSV file, with their values."""
    return download("values.csv", export_values(Holding.objects.filter(portfolio__user=signed_in(request))))


def _holdings_of(request: HttpRequest) -> dict[str, object]:
    sort = _sort_of(request)
    shown = statements(signed_in(request), sort)
    return {
        "statements": shown,
        "sort": sort,
        "rows_at_once": ROWS_AT_ONCE,
        "at_once": "" if request.GET.get("all") else f":{ROWS_AT_ONCE}",
        "splits": split_notes(signed_in(request)),
        "visit": visit_of(request.session, fetches_in(shown)),
    }


def _sort_of(request: HttpRequest) -> str:
    sort = request.GET.get("sort", BY_VALUE)
    return sort if sort in SORTS else BY_VALUE

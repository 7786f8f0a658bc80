from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from portfolio.exports import download, export_own, export_values
from portfolio.holdings import BY_VALUE, SORTS, fetches_in, statements, stocks_of
from portfolio.models import Holding, Portfolio
from portfolio.refreshing import refresh_prices
from portfolio.splits.notes import split_notes
from portfolio.visit import visit_of
from stockqueue.signed_in import signed_in


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
    return render(request, "portfolio/holdings.html", _holdings_of(request))


@login_required
@require_POST
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
    sort = request.GET.get("sort", BY_VALUE)
    shown = statements(signed_in(request), sort if sort in SORTS else BY_VALUE)
    return {
        "statements": shown,
        "sort": sort if sort in SORTS else BY_VALUE,
        "splits": split_notes(signed_in(request)),
        "visit": visit_of(request.session, fetches_in(shown)),
    }

"""The page of a stock, its parts that reload, and the data of its chart."""

from csp.decorators import csp_update
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from market.analysis.technical.chart import cached_chart
from market.currency import major_unit
from market.models import Stock
from market.symbols import InvalidSymbol, parse_symbol
from portfolio.price_alerts.forms import AlertForm
from portfolio.price_alerts.setting import alerts_of
from portfolio.refreshing import refresh_prices
from portfolio.stock_page import find_stock, stock_page
from stockqueue.signed_in import one_change_at_a_time, signed_in


# plotly writes styles into the page. The types of django-csp know no views with arguments.
@csp_update({"style-src": ["'unsafe-inline'"]})  # type: ignore[arg-type]
@login_required
@never_cache
@require_GET
def stock(request: HttpRequest, symbol: str) -> HttpResponse:
    """The price, chart, analyses, news and alerts of a stock."""
    found = find_or_404(request, symbol)
    if found.symbol != symbol:
        return redirect("stock", found.symbol)
    user = signed_in(request)
    context = {
        "page": stock_page(found, user),
        "alerts": alerts_of(user, found),
        "alert_form": AlertForm(currency=major_unit(found.currency).currency),
    }
    return render(request, "portfolio/stock.html", context)


@login_required
@never_cache
@require_GET
def stock_figures(request: HttpRequest, symbol: str) -> HttpResponse:
    """The page without the chart; the page compares itself with the part after a change."""
    page = stock_page(find_or_404(request, symbol), signed_in(request))
    return render(request, "portfolio/stock_figures.html", {"page": page})


@login_required
@never_cache
@require_GET
def stock_chart(request: HttpRequest, symbol: str) -> HttpResponse:
    """The data of the chart: columns of bars and indicators, as JSON. With `?all=1`, all stored bars."""
    found = find_or_404(request, symbol)
    return JsonResponse(cached_chart(found, None) if request.GET.get("all") else cached_chart(found))


@login_required
@require_POST
@one_change_at_a_time
def stock_refresh(request: HttpRequest, symbol: str) -> HttpResponse:
    """Request fresh prices of the stock, unless the user has refreshed the stock a moment ago."""
    found = find_or_404(request, symbol)
    messages.info(request, str(refresh_prices([found], signed_in(request))))
    return redirect("stock", found.symbol)


def find_or_404(request: HttpRequest, symbol: str) -> Stock:
    """The stock; 404 even for existing stocks that the user may not see."""
    try:
        found = find_stock(parse_symbol(symbol), signed_in(request))
    except InvalidSymbol as error:
        raise Http404(str(error)) from None
    if found is None:
        raise Http404("You do not hold this stock.")
    return found

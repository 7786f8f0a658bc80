"""The history of a portfolio's value: a part of the portfolio page, loaded when it is opened."""

from datetime import date, datetime

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from portfolio.models import Portfolio, Preferences
from portfolio.references import request_history
from portfolio.value_chart import HEIGHT, WIDTH, draw
from portfolio.value_history import RANGES, cached_history, closes_since
from stockqueue.signed_in import signed_in

DEFAULT_RANGE = "1y"


@login_required
@never_cache
@require_GET
def history(request: HttpRequest, pk: int) -> HttpResponse:
    """The value of today's holdings over a range of days, beside the benchmark of the user's choice."""
    user = signed_in(request)
    portfolio = get_object_or_404(Portfolio, pk=pk, user=user)
    chosen = request.GET.get("range", DEFAULT_RANGE)
    if chosen not in RANGES:
        raise Http404(f"The range {chosen[:20]!r} is not one of {', '.join(RANGES)}.")
    preferences, now = Preferences.of(user), timezone.now()
    since = _first_day(chosen, now)
    values = cached_history(portfolio, preferences.currency, since)
    context = {
        "portfolio": portfolio,
        "chart": draw(values, closes_since(preferences.benchmark, since)),
        "values": values,
        "benchmark": preferences.benchmark,
        "is_requested": request_history(portfolio, preferences, now),
        "ranges": list(RANGES),
        "range": chosen,
        "width": WIDTH,
        "height": HEIGHT,
    }
    return render(request, "portfolio/history.html", context)


def _first_day(chosen: str, now: datetime) -> date:
    length = RANGES[chosen]
    return date.min if length is None else now.date() - length

"""The search for symbols: a page, and its part that other pages show below a field."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from portfolio.models import Portfolio
from portfolio.search.answers import MOST_QUESTIONS, answer
from portfolio.search.numbers import NumberQuestions
from stockqueue.signed_in import signed_in


@login_required
@never_cache
@require_GET
def search_page(request: HttpRequest) -> HttpResponse:
    """The matches of `q`. A form's symbol field sends its text as `symbol`, and gets a list to choose from."""
    user = signed_in(request)
    text = request.GET.get("q", "") or request.GET.get("symbol", "")
    found = answer(text, user, _question(request))
    if request.headers.get("HX-Request"):
        return render(request, "portfolio/search/choices.html", {"answer": found})
    portfolios = Portfolio.objects.filter(user=user)
    pk = request.GET.get("portfolio", "")
    chosen = (pk.isascii() and pk.isdecimal() and portfolios.filter(pk=int(pk[:18])).first()) or portfolios.first()
    return render(request, "portfolio/search/page.html", {"answer": found, "text": text[:60], "portfolio": chosen})


@login_required
@never_cache
@require_GET
def number_matches(request: HttpRequest) -> HttpResponse:
    """The symbols found so far for the security numbers of a preview."""
    questions = NumberQuestions.read(request.GET, signed_in(request), _question(request))
    return render(request, "portfolio/search/numbers.html", {"numbers": questions})


def _question(request: HttpRequest) -> int:
    """The number of the question for the same query, from 1."""
    text = request.GET.get("question", "")
    return min(int(text), MOST_QUESTIONS) if text.isascii() and text.isdecimal() and len(text) < 4 else 1

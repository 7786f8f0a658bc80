"""Pages on which an owner makes, renames and deletes portfolios, and adds, edits and deletes holdings.

Every page looks up its object among those of the user: an object of somebody else is not found.
"""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import IntegrityError, transaction
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from market.symbols import LONGEST_SYMBOL
from portfolio.editing.forms import HELD_ALREADY, EditedHoldingForm, NewHoldingForm, PortfolioForm
from portfolio.fetching import fetch_new_stocks
from portfolio.models import Holding, Portfolio
from stockqueue.signed_in import one_change_at_a_time, signed_in

_View = Callable[..., HttpResponse]


def _page(view: _View) -> _View:
    return login_required(never_cache(require_http_methods(["GET", "POST"])(one_change_at_a_time(view))))


@_page
def new_portfolio(request: HttpRequest) -> HttpResponse:
    form = PortfolioForm(request.POST or None, user=signed_in(request))
    return _edit(request, form, "New portfolio", "Create", "The portfolio {} was created.")


@_page
def rename_portfolio(request: HttpRequest, pk: int) -> HttpResponse:
    portfolio = _portfolio(request, pk)
    form = PortfolioForm(request.POST or None, instance=portfolio, user=signed_in(request))
    return _edit(request, form, f"Rename {portfolio.name}", "Rename", "The portfolio is called {} now.")


@_page
def delete_portfolio(request: HttpRequest, pk: int) -> HttpResponse:
    portfolio = _portfolio(request, pk)
    count = portfolio.holdings.count()
    return _delete(request, portfolio, f"{portfolio.name} with its {count} holding{'' if count == 1 else 's'}")


@_page
def new_holding(request: HttpRequest, pk: int) -> HttpResponse:
    """Add a stock to a portfolio. A stock that was never fetched is fetched at once."""
    portfolio = _portfolio(request, pk)
    initial = {"symbol": request.GET.get("symbol", "")[: 2 * LONGEST_SYMBOL]}
    form = NewHoldingForm(request.POST or None, portfolio=portfolio, initial=initial)
    if form.is_valid() and _add(request, form):
        return redirect("portfolio")
    context = {"form": form, "title": f"Add a stock to {portfolio.name}", "button": "Add", "portfolio": portfolio}
    return render(request, "portfolio/new_holding.html", context)


def _add(request: HttpRequest, form: NewHoldingForm) -> bool:
    """Store the holding and fetch its stock. False if another request has just added the stock."""
    try:
        with transaction.atomic():
            holding = form.save()
            fetch_new_stocks([holding.stock], signed_in(request))
    except IntegrityError:
        _portfolio(request, form.instance.portfolio_id)  # it may have been deleted meanwhile
        form.add_error("symbol", HELD_ALREADY.format(form.cleaned_data["symbol"]))
        return False
    messages.success(request, f"Added {holding}.")
    return True


@_page
def edit_holding(request: HttpRequest, pk: int) -> HttpResponse:
    holding = _holding(request, pk)
    form = EditedHoldingForm(request.POST or None, instance=holding)
    return _edit(request, form, f"{holding.stock} in {holding.portfolio}", "Save", "Changed: {}.", holding=holding)


@_page
def delete_holding(request: HttpRequest, pk: int) -> HttpResponse:
    holding = _holding(request, pk)
    return _delete(request, holding, f"{holding} in {holding.portfolio}")


def _portfolio(request: HttpRequest, pk: int) -> Portfolio:
    return get_object_or_404(Portfolio, pk=pk, user=signed_in(request))


def _holding(request: HttpRequest, pk: int) -> Holding:
    holdings = Holding.objects.select_related("stock", "portfolio")
    return get_object_or_404(holdings, pk=pk, portfolio__user=signed_in(request))


def _edit(
    request: HttpRequest, form: "ModelForm[Any]", title: str, button: str, done: str, **context: object
) -> HttpResponse:
    """Show the form, or save its answer and go back to the portfolio. `done` is the message, with the object in {}."""
    if form.is_valid():
        messages.success(request, done.format(form.save()))
        return redirect("portfolio")
    return render(request, "portfolio/form.html", {"form": form, "title": title, "button": button, **context})


def _delete(request: HttpRequest, thing: Portfolio | Holding, name: str) -> HttpResponse:
    """Ask, and delete after the confirmation."""
    if request.method == "POST":
        thing.delete()
        messages.success(request, f"Deleted {name}.")
        return redirect("portfolio")
    return render(request, "portfolio/delete.html", {"name": name})

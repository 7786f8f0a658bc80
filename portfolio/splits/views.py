"""An owner's answers to a note about a split."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from portfolio.models import HoldingSplit
from portfolio.splits.adjusting import is_unchanged, restore, write
from portfolio.splits.numbers import Numbers
from portfolio.splits.numbers import adjust as adjusted
from stockqueue.signed_in import signed_in

State = HoldingSplit.State


@login_required
@require_POST
@transaction.atomic
def undo(request: HttpRequest, pk: int) -> HttpResponse:
    """Restore the numbers before a split, unless the holding has changed since."""
    effect = _locked(request, pk)
    stock = effect.holding.stock
    if effect.state != State.ADJUSTED:
        messages.info(request, f"Nothing to undo: {stock} is not adjusted to the split {effect.split.ratio} any more.")
    elif not is_unchanged(effect):
        messages.warning(
            request,
            f"{stock} has changed since the split, by an edit, an import or a later split, and was left as it is. "
            f"Edit the holding instead.",
        )
    else:
        restore([effect])
        _end(effect, State.UNDONE)
        messages.success(request, f"Undone: you hold {effect.holding} again, and the split is not applied any more.")
    return _back(request, effect)


@login_required
@require_POST
@transaction.atomic
def adjust(request: HttpRequest, pk: int) -> HttpResponse:
    """Adjust a holding that was entered on the day of the split, unless it has changed since."""
    effect = _locked(request, pk)
    holding = effect.holding
    after = adjusted(Numbers(holding.shares, holding.buy_price), effect.split)
    if effect.state != State.SAME_DAY or not is_unchanged(effect) or after is None:
        messages.warning(request, f"{holding.stock} cannot be adjusted any more. Edit the holding instead.")
        _end(effect, effect.state)
        return _back(request, effect)
    holding.shares, holding.buy_price = effect.shares_after, effect.price_after = after
    write([holding])
    effect.state = State.ADJUSTED
    effect.save()
    messages.success(request, f"Adjusted: you hold {holding} now.")
    return _back(request, effect)


@login_required
@require_POST
@transaction.atomic
def dismiss(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the note no more."""
    effect = _locked(request, pk)
    _end(effect, effect.state)
    return _back(request, effect)


def _locked(request: HttpRequest, pk: int) -> HoldingSplit:
    """The user's own effect of a split with its holding, both locked; else 404."""
    effects = HoldingSplit.objects.select_related("holding__stock", "split")
    locked = effects.select_for_update(of=("self", "holding"), no_key=True)
    return get_object_or_404(locked, pk=pk, holding__portfolio__user=signed_in(request))


def _end(effect: HoldingSplit, state: str) -> None:
    effect.state, effect.is_dismissed = state, True
    effect.save(update_fields=["state", "is_dismissed"])


def _back(request: HttpRequest, effect: HoldingSplit) -> HttpResponse:
    """Lead back to the page of the note: of the stock, or of all portfolios."""
    symbol = effect.holding.stock.symbol
    return redirect("stock", symbol) if request.POST.get("back") == symbol else redirect("portfolio")

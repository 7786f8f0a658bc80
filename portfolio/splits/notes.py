"""Notes about splits, for the owners of the holdings."""

from dataclasses import dataclass
from decimal import Decimal

from django.contrib.auth.models import User

from market.currency import major_unit
from market.models import Stock
from portfolio.models import HoldingSplit
from portfolio.splits.numbers import Numbers
from portfolio.templatetags.display import money
from portfolio.templatetags.display import shares as show_shares

SHOWN = 50
"""The newest notes on a page. Older notes follow after a dismissal."""

State = HoldingSplit.State
_UNKNOWN = "an unknown price"


@dataclass(frozen=True)
class SplitNote:
    """A note: its text, and the answers that its owner can give."""

    pk: int
    symbol: str
    text: str
    can_undo: bool
    can_adjust: bool


def split_notes(user: User, stock: Stock | None = None) -> list[SplitNote]:
    """The notes that the user has not dismissed, the newest first, in a single query."""
    effects = HoldingSplit.objects.filter(holding__portfolio__user=user, is_dismissed=False)
    if stock is not None:
        effects = effects.filter(holding__stock=stock)
    shown = effects.select_related("holding__stock", "holding__portfolio", "split__stock")[:SHOWN]
    return [_note(effect) for effect in shown]


def _note(effect: HoldingSplit) -> SplitNote:
    return SplitNote(
        pk=effect.pk,
        symbol=effect.holding.stock.symbol,
        text=describe(effect),
        can_undo=effect.state == State.ADJUSTED,
        can_adjust=effect.state == State.SAME_DAY,
    )


def describe(effect: HoldingSplit) -> str:
    """`AAPL split 4:1 on 2026-11-27. Your 10 shares at $400.00 in Main became 40 at $100.00.`"""
    split, portfolio = effect.split, effect.holding.portfolio
    what = f"{split.stock} split {split.ratio} on {split.date}"
    before, after = _numbers(effect, "before"), _numbers(effect, "after")
    match effect.state:
        case State.ADJUSTED:
            became = f"Your {_show(effect, before)} in {portfolio} became {_show(effect, after)}."
            return f"{what}. {became}{_fraction(effect)}"
        case State.SAME_DAY:
            return (
                f"{what}, the day on which you entered {_show(effect, before)} in {portfolio}. They were left as they "
                f"are, because they may be the shares before or after the split."
            )
        case State.UNFIT:
            return (
                f"{what}. Your {_show(effect, before)} in {portfolio} were left as they are, because the number of "
                f"shares or their price would be too small or too large. Edit the holding."
            )
        case State.WITHDRAWN:
            return (
                f"The split {split.ratio} of {split.stock} on {split.date} was withdrawn by the source of the prices. "
                f"You hold {_show(effect, before)} in {portfolio} again."
            )
    return (
        f"The split {split.ratio} of {split.stock} on {split.date} was withdrawn by the source of the prices. Your "
        f"holding in {portfolio} has changed since the split and was left as it is. Check its shares and price."
    )


def _numbers(effect: HoldingSplit, when: str) -> Numbers:
    return Numbers(getattr(effect, f"shares_{when}"), getattr(effect, f"price_{when}"))


def _show(effect: HoldingSplit, numbers: Numbers) -> str:
    """`10 shares at $400.00`."""
    unit = major_unit(effect.split.stock.currency)
    price = _UNKNOWN if numbers.price is None else money(numbers.price / unit.parts, unit.currency)
    return f"{show_shares(numbers.shares)} share{'' if numbers.shares == 1 else 's'} at {price}"


def _fraction(effect: HoldingSplit) -> str:
    """The advice about a fraction of a share; empty if no whole number of shares became a fraction."""
    if _is_whole(effect.shares_before) and not _is_whole(effect.shares_after):
        return " If your broker has paid cash in place of the fraction of a share, edit the holding."
    return ""


def _is_whole(number: Decimal) -> bool:
    return number == number.to_integral_value()

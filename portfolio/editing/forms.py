"""Forms for an owner's portfolios and holdings."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth.models import User
from django.urls import reverse_lazy

from market.foreign_symbols import translate_symbol
from market.models import Stock
from market.symbols import LONGEST_SYMBOL, InvalidSymbol, number_kind
from portfolio.files.numbers import show_number
from portfolio.models import Holding, Portfolio

if TYPE_CHECKING:
    _FormOfPortfolio = forms.ModelForm[Portfolio]
    _FormOfHolding = forms.ModelForm[Holding]
else:
    _FormOfPortfolio = _FormOfHolding = forms.ModelForm


HELD_ALREADY = "{} is in this portfolio already; edit that holding."


class PortfolioForm(_FormOfPortfolio):
    class Meta:
        model = Portfolio
        fields = ("name",)

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.user = user

    def clean_name(self) -> str:
        """A name that no other portfolio of the user has."""
        name: str = self.cleaned_data["name"]
        others = Portfolio.objects.filter(user=self.instance.user, name=name).exclude(pk=self.instance.pk)
        if others.exists():
            raise forms.ValidationError(f"You have a portfolio “{name}” already.")
        return name


class HoldingForm(_FormOfHolding):
    """Shares and price of a holding; the stock stays the same."""

    class Meta:
        model = Holding
        fields = ("shares", "buy_price")
        labels = {"buy_price": "Price paid for a share"}
        help_texts = {"buy_price": "In the currency and unit of the stock's price, such as pence; empty if unknown."}
        widgets = {
            "shares": forms.NumberInput({"step": "any", "min": "0"}),
            "buy_price": forms.NumberInput({"step": "any", "min": "0"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("shares", "buy_price"):
            if (number := self.initial.get(name)) is not None:
                self.initial[name] = show_number(number)


class NewHoldingForm(HoldingForm):
    """A holding of a stock that is not in the portfolio yet."""

    symbol = forms.CharField(
        max_length=2 * LONGEST_SYMBOL,
        help_text="As Yahoo Finance writes it: AAPL, BRK-B, VOD.L, SAP.DE. NASDAQ:AAPL and BRK/B are understood, too. "
        "Part of a name, or an ISIN, is searched for.",
        widget=forms.TextInput(
            {
                "autocomplete": "off",
                "autocapitalize": "characters",
                "spellcheck": "false",
                "data-search": True,
                "hx-get": reverse_lazy("search"),
                "hx-trigger": "input changed delay:250ms",
                "hx-sync": "this:replace",
                "hx-target": "#matches",
            }
        ),
    )
    field_order = ("symbol", "shares", "buy_price")
    text_to_search = ""
    """A number in place of a symbol; the page searches for its symbols at once."""

    def __init__(self, *args: Any, portfolio: Portfolio, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.portfolio = portfolio

    def clean_symbol(self) -> str:
        text = self.cleaned_data["symbol"]
        if kind := number_kind(text):
            self.text_to_search = text
            raise forms.ValidationError(
                f"{text} is {kind}, not a symbol; choose one of the found symbols, or write the symbol, such as AAPL."
            )
        try:
            symbol = translate_symbol(text)
        except InvalidSymbol as error:
            raise forms.ValidationError(str(error)) from None
        if self.instance.portfolio.holdings.filter(stock__symbol=symbol).exists():
            raise forms.ValidationError(HELD_ALREADY.format(symbol))
        return symbol

    def save(self, commit: bool = True) -> Holding:
        """Store the holding, and the stock if it is new."""
        (self.instance.stock,) = Stock.objects.find_or_create([self.cleaned_data["symbol"]])
        return super().save(commit)


class EditedHoldingForm(HoldingForm):
    """A holding that exists. The form notices if a split or another page has changed it since the form was opened."""

    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stored = self.instance.as_of.isoformat()
        self.fields["seen"].initial = self._stored

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if self.data.get("seen") not in (None, "", self._stored):
            self.data = dict(self.data.items()) | {
                "seen": self._stored
            }  # the same numbers again are an answer to the question
            price = self.instance.buy_price
            raise forms.ValidationError(
                f"The holding has changed since you opened this form, perhaps by a split: it is {self.instance} at "
                f"{'an unknown price' if price is None else show_number(price)} now. Check the numbers and save again."
            )
        return cleaned

"""The forms of the page "Fetch": a symbol, a portfolio, or a range of days for either."""

import re
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from console.backfill_form import BackfillForm
from console.kit.widgets import KeySelect
from console.portfolios import may_fetch_portfolios, name_portfolios
from market.models import Stock
from market.symbols import InvalidSymbol, parse_symbol
from portfolio.holdings import stocks_of
from portfolio.models import Holding, Portfolio
from stockqueue.wording import name_some

LONGEST_TEXT = 20_000
"""Characters of the symbols field: room for some thousand symbols."""
NAMED = 5
"""Symbols named in an error at most."""

_HOW_TO_TYPE = {"autocapitalize": "characters", "autocomplete": "off", "spellcheck": "false"}
_PORTFOLIO = Holding._meta.get_field("portfolio")


class SymbolsField(forms.CharField):
    """Symbols separated by commas or spaces. The value is a list of distinct symbols in their canonical spelling."""

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        symbols: dict[str, None] = {}
        errors = []
        for part in filter(None, re.split(r"[\s,;]+", text)):
            try:
                symbols[parse_symbol(part)] = None
            except InvalidSymbol as error:
                errors.append(str(error))
        if errors:
            more = [f"and {len(errors) - NAMED} more"] if len(errors) > NAMED else []
            raise forms.ValidationError(errors[:NAMED] + more)
        return list(symbols)

    def run_validators(self, value: Any) -> None:
        """Run the validators of the text field on the symbols, joined to a text."""
        super().run_validators(", ".join(value))


class PortfolioSelect(KeySelect):
    """A select that finds portfolios by their names and their users' names, and shows both."""

    url_name = "%s:operations_fetch_portfolios"


if TYPE_CHECKING:
    _ModelChoiceField = forms.ModelChoiceField[Portfolio]
else:
    _ModelChoiceField = forms.ModelChoiceField


class PortfolioField(_ModelChoiceField):
    def __init__(self, **options: Any) -> None:
        widget = PortfolioSelect(_PORTFOLIO, admin.site)
        super().__init__(Portfolio.objects.select_related("user"), widget=widget, **options)

    def label_from_instance(self, portfolio: Portfolio) -> str:
        return name_portfolios([portfolio])

    def clean(self, value: Any) -> Any:
        portfolio = super().clean(value)
        if portfolio is not None and not portfolio.holdings.exists():
            raise forms.ValidationError(f"{name_portfolios([portfolio])} holds nothing.")
        return portfolio


class PortfolioChoices(AutocompleteJsonView):
    """The JSON view behind `PortfolioSelect`."""

    def process_request(self, request: HttpRequest) -> tuple[str, Any, Any, str]:
        """Search among portfolios, regardless of the model in the request."""
        return request.GET.get("term", ""), admin.site.get_model_admin(Portfolio), _PORTFOLIO, "id"

    def has_perm(self, request: HttpRequest, obj: object = None) -> bool:
        return may_fetch_portfolios(request)

    def get_queryset(self) -> QuerySet[Portfolio]:
        found: QuerySet[Portfolio] = super().get_queryset()
        return found.select_related("user").order_by("user__username", "name")

    def serialize_result(self, portfolio: Any, to_field_name: str) -> dict[str, str]:
        return {"id": str(portfolio.pk), "text": name_portfolios([portfolio])}


class SymbolForm(forms.Form):
    symbol = forms.CharField(
        widget=UnfoldAdminTextInputWidget(_HOW_TO_TYPE),
        help_text="Symbol at Yahoo Finance, such as AAPL, BRK-B, ^GSPC or EURUSD=X. A new stock is added.",
    )

    def __init__(self, *args: Any, may_add_stocks: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self._may_add_stocks = may_add_stocks

    def clean_symbol(self) -> str:
        try:
            symbol = parse_symbol(self.cleaned_data["symbol"])
        except InvalidSymbol as error:
            raise forms.ValidationError(str(error)) from None
        if not self._may_add_stocks:
            refuse_unknown([symbol])
        return symbol


class PortfolioForm(forms.Form):
    portfolio = PortfolioField(help_text="All stocks of the portfolio are fetched, fresh or not.")


class RangeForm(BackfillForm):
    """The form of a backfill of symbols or of a portfolio."""

    field_order = ("symbols", "portfolio")
    symbols = SymbolsField(
        required=False,
        max_length=LONGEST_TEXT,
        widget=UnfoldAdminTextareaWidget({"rows": 2, **_HOW_TO_TYPE}),
        help_text="One or more symbols, separated by spaces or commas.",
    )
    portfolio = PortfolioField(required=False, label="or portfolio")

    def __init__(self, *args: Any, may_add_stocks: bool, may_choose_portfolio: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self._may_add_stocks = may_add_stocks
        if not may_choose_portfolio:
            del self.fields["portfolio"]

    def clean_symbols(self) -> list[str]:
        symbols: list[str] = self.cleaned_data["symbols"]
        if not self._may_add_stocks:
            refuse_unknown(symbols)
        return symbols

    def clean(self) -> dict[str, Any]:
        given = super().clean()
        symbols, portfolio = given.get("symbols"), given.get("portfolio")
        if symbols and portfolio:
            self.add_error("portfolio", "Give symbols or a portfolio, not both.")
        elif not symbols and not portfolio and not {"symbols", "portfolio"} & set(self.errors):
            or_else = ", or a portfolio" if "portfolio" in self.fields else ""
            self.add_error("symbols", f"A symbol is needed, such as AAPL or BRK-B{or_else}.")
        return given

    def chosen_portfolio(self) -> Portfolio | None:
        """The chosen portfolio, or None for symbols."""
        portfolio: Portfolio | None = self.cleaned_data.get("portfolio")
        return portfolio

    @cached_property
    def stocks(self) -> list[Stock]:
        """The chosen stocks. New stocks are not saved."""
        portfolio = self.chosen_portfolio()
        if portfolio is not None:
            return stocks_of([portfolio])
        symbols = self.cleaned_data["symbols"]
        known = Stock.objects.in_bulk(symbols, field_name="symbol")
        return [known.get(symbol) or Stock(symbol=symbol) for symbol in symbols]


def refuse_unknown(symbols: list[str]) -> None:
    """Raise ValidationError for symbols without a stock. For users without the permission to add stocks."""
    known = set(Stock.objects.filter(symbol__in=symbols).values_list("symbol", flat=True))
    if unknown := [symbol for symbol in symbols if symbol not in known]:
        names = name_some(unknown, NAMED)
        raise forms.ValidationError(f"New stocks: {names}; you need the permission to add stocks.")

"""The form of a backfill in the admin: its days, a preview of their cost, and the confirmation of the preview."""

import hashlib
from collections.abc import Sequence
from datetime import date
from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminSingleDateWidget

from market.jobs.backfill import InvalidRange, Mode, check_range, preview
from market.models import Stock

_MODES = {
    Mode.GAPS: "only sessions without a bar",
    Mode.UPDATE: "all days; changed bars are overwritten",
    Mode.REPLACE: "all days; bars that the source lacks are removed",
}


class BackfillForm(forms.Form):
    """The first and last day of a backfill, and its mode."""

    start = forms.DateField(label="First day", widget=UnfoldAdminSingleDateWidget)
    end = forms.DateField(
        label="Last day", required=False, widget=UnfoldAdminSingleDateWidget, help_text="Inclusive; empty for today."
    )
    mode = forms.ChoiceField(
        label="Fetch",
        choices=[(str(mode), words) for mode, words in _MODES.items()],
        widget=UnfoldAdminSelectWidget,
    )

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if given.get("start") and "end" in given:
            try:
                check_range(given["start"], given["end"], timezone.now().date())
            except InvalidRange as error:
                self.add_error("start" if error.of_start else "end", f"{error}.")
        return given

    def range(self) -> tuple[date, date | None, Mode]:
        """The days and the mode of a valid form."""
        return self.cleaned_data["start"], self.cleaned_data["end"], Mode(self.cleaned_data["mode"])

    def is_confirmed(self, stocks: Sequence[Stock]) -> bool:
        """Whether the user pressed "Queue it" on a preview of exactly these stocks and days."""
        return self.data.get("confirmed") == self._fingerprint(stocks)

    def shown(self, stocks: Sequence[Stock]) -> dict[str, Any]:
        """The preview's template context. `has_changed`: the user confirmed a different preview."""
        return {
            "cost": preview(stocks, *self.range(), now=timezone.now()),
            "fingerprint": self._fingerprint(stocks),
            "has_changed": "confirmed" in self.data,
        }

    def _fingerprint(self, stocks: Sequence[Stock]) -> str:
        parts = [*map(str, self.range()), *sorted(stock.symbol for stock in stocks)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

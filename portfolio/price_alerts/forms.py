"""The form of an alert."""

from django import forms

from portfolio.price_alerts.models import PLACES, Kind


class AlertForm(forms.Form):
    """An alert on a stock whose prices are in `currency`."""

    kind = forms.ChoiceField(label="Condition", choices=Kind.choices)
    threshold = forms.DecimalField(
        label="Amount",
        max_digits=22,
        decimal_places=PLACES,
        widget=forms.NumberInput({"step": "any", "min": "0"}),
        error_messages={"invalid": "Write a number such as 123.45."},
    )

    def __init__(self, *args: object, currency: str, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        unit = f"A price in {currency}" if currency else "A price"
        self.fields["threshold"].help_text = f"{unit}, or a change in percent."

"""Forms for an owner's account and preferences."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.models import User

from market.foreign_symbols import translate_symbol
from market.symbols import LONGEST_SYMBOL, InvalidSymbol, number_kind
from portfolio.accounts import throttle
from portfolio.currencies import CURRENCIES
from portfolio.models import Preferences
from portfolio.time_zone import zone_choices
from stockqueue.demo_users import NAMES as DEMO_USERS

if TYPE_CHECKING:
    _UserForm = UserCreationForm[User]
    _FormOfPreferences = forms.ModelForm[Preferences]
else:
    _UserForm = UserCreationForm
    _FormOfPreferences = forms.ModelForm

RESERVED = {*DEMO_USERS, "system"}
"""Names that nobody may take: logs and pages use `system` where no user made a job."""
NAME_TAKEN = "A user with that username already exists."


class SignUpForm(_UserForm):
    """A new user. The user is inactive if mail is sent, because the address has to be confirmed first."""

    class Meta(UserCreationForm.Meta):
        model = User
        fields = ("username", "email")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        address = self.fields["email"]
        address.required = settings.SENDS_MAIL
        address.help_text = "You get a mail with a link to confirm it." if settings.SENDS_MAIL else "Optional."
        address.widget.attrs["autocomplete"] = "email"
        self.instance.is_active = not settings.SENDS_MAIL

    def clean_username(self) -> str:
        name = super().clean_username()  # None for a name that is taken
        if name and name.lower() in RESERVED:
            raise forms.ValidationError(NAME_TAKEN)
        return name


class AddressForm(forms.Form):
    """The address of an account whose password is forgotten."""

    email = forms.EmailField(max_length=254, widget=forms.EmailInput({"autocomplete": "email"}))


class PasswordForm(forms.Form):
    """The user's password, asked again before a change that a borrowed session must not make."""

    password = forms.CharField(
        label="Your password",
        max_length=4_096,
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "current-password"}),
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if (wait := throttle.take((throttle.PASSWORDS, self.user.pk))) is not None:
            raise forms.ValidationError(throttle.describe(wait))
        if not self.user.check_password(password):
            raise forms.ValidationError("This is not your password. Caps lock may be on.")
        return password


class NewAddressForm(PasswordForm):
    """A new address for the user's mails."""

    email = forms.EmailField(
        label="New address",
        max_length=254,
        required=False,
        help_text="Empty: no address, and so no mails.",
        widget=forms.EmailInput({"autocomplete": "email"}),
    )
    field_order = ("email", "password")


class PreferencesForm(_FormOfPreferences):
    base_currency = forms.ChoiceField(label="Currency of totals", required=False)
    time_zone = forms.ChoiceField(choices=zone_choices)
    benchmark = forms.CharField(
        max_length=2 * LONGEST_SYMBOL,
        help_text="The index that portfolios are compared with, as Yahoo Finance writes it: ^GSPC, ^STOXX50E.",
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false", "list": "benchmarks"}),
    )

    class Meta:
        model = Preferences
        fields = ("base_currency", "time_zone", "benchmark", "mails_alerts")
        labels = {"mails_alerts": "Mail me when one of my price alerts is reached"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["base_currency"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101  (for the type checker)
        field.choices = [
            ("", f"As this site: {settings.JOB_PROCESSOR.portfolio.base_currency}"),
            *((code, f"{code}, {name}") for code, name in CURRENCIES.items()),
        ]

    def clean_benchmark(self) -> str:
        text = self.cleaned_data["benchmark"]
        if kind := number_kind(text):
            raise forms.ValidationError(f"{text} is {kind}, not a symbol; write the symbol, such as ^GSPC.")
        try:
            return translate_symbol(text)
        except InvalidSymbol as error:
            raise forms.ValidationError(str(error)) from None

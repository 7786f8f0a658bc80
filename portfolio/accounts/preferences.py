"""An owner's preferences, and the address of the mails."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from portfolio.accounts import throttle
from portfolio.accounts.forms import NewAddressForm, PreferencesForm
from portfolio.accounts.links import change_of_address, site_of
from portfolio.mails import queue_letter, queue_mail
from portfolio.models import OutgoingMail, Preferences
from portfolio.references import request_references
from stockqueue.signed_in import one_change_at_a_time, signed_in

BENCHMARKS = {
    "^GSPC": "S&P 500",
    "^IXIC": "NASDAQ Composite",
    "^DJI": "Dow Jones Industrial Average",
    "^RUT": "Russell 2000",
    "^STOXX50E": "EURO STOXX 50",
    "^STOXX": "STOXX Europe 600",
    "^GDAXI": "DAX",
    "^FTSE": "FTSE 100",
    "^FCHI": "CAC 40",
    "^SSMI": "SMI",
    "^N225": "Nikkei 225",
    "^HSI": "Hang Seng",
    "URTH": "MSCI World (a fund)",
}
"""Suggestions."""

_ADDRESS_PAGE = "accounts/address.html"


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
@one_change_at_a_time
def preferences(request: HttpRequest) -> HttpResponse:
    """Change the preferences. Rates and the benchmark of new choices are fetched at once."""
    user = signed_in(request)
    form = PreferencesForm(request.POST or None, instance=Preferences.of(user))
    if form.is_valid():
        stored, _ = Preferences.objects.update_or_create(user=user, defaults=form.cleaned_data)
        if {"base_currency", "benchmark"}.intersection(form.changed_data):
            request_references(stored, timezone.now())
        messages.success(request, "Your preferences were saved.")
        return redirect("preferences")
    return render(request, "accounts/preferences.html", {"form": form, "benchmarks": BENCHMARKS})


@sensitive_post_parameters()
@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def address(request: HttpRequest) -> HttpResponse:
    """Change the address of mails; where mail is sent, the new address has to be confirmed first."""
    user = signed_in(request)
    form = NewAddressForm(request.POST or None, user=user, initial={"email": user.email})
    if form.is_valid():
        new: str = form.cleaned_data["email"]
        if new and new != user.email and settings.SENDS_MAIL:
            if wait := throttle.take((throttle.ADDRESS_MAILS, user.pk)):
                return throttle.refuse(request, _ADDRESS_PAGE, {"form": form}, wait)
            queue_letter(OutgoingMail.Letter.ADDRESS, new, site_of(request), user)
            messages.info(request, f"A mail is on its way to {new}. Open its link within a day to confirm.")
        else:
            _change(request, user, new)
        return redirect("preferences")
    return render(request, _ADDRESS_PAGE, {"form": form})


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def confirm_address(request: HttpRequest, token: str) -> HttpResponse:
    """Take the address of a link after a click: programs that check mails open links, too."""
    user = signed_in(request)
    new = change_of_address(token, user)
    if new is not None and request.method == "POST":
        _change(request, user, new)
        return redirect("preferences")
    return render(request, "accounts/address_confirm.html", {"address": new})


def _change(request: HttpRequest, user: User, new: str) -> None:
    """Store the address. The old address hears of it, in case the change was not the user's."""
    old = user.email
    if not User.objects.filter(pk=user.pk, email=old).exclude(email=new).update(email=new):
        return
    if old:
        now = f"The address is {new} now." if new else "The account has no address now."
        queue_mail([old], "Your address was changed", f"The account {user} no longer has this address. {now}\n")
    messages.success(request, f"Your address is {new} now." if new else "Your address was removed.")

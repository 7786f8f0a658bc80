"""The request of a link for a new password. Accounts are looked up when the mail is written, not here."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from portfolio.accounts import throttle
from portfolio.accounts.forms import AddressForm
from portfolio.accounts.links import site_of
from portfolio.mails import queue_letter
from portfolio.models import OutgoingMail
from stockqueue.client_address import client_address

_PAGE = "accounts/password_reset.html"


@never_cache
@require_http_methods(["GET", "POST"])
def password_reset(request: HttpRequest) -> HttpResponse:
    """Queue the mail for an address, with the same work and answer whether or not it has an account."""
    form = AddressForm(request.POST or None)
    context: dict[str, object] = {"form": form, "sends_mail": settings.SENDS_MAIL}
    if request.method == "POST" and settings.SENDS_MAIL and form.is_valid():
        address = form.cleaned_data["email"]
        limits = (
            (throttle.RESET_FORMS, client_address(request)),
            (throttle.RESET_MAILS, address.lower()),
            (throttle.RESETS, ""),
        )
        if wait := throttle.take(*limits):
            return throttle.refuse(request, _PAGE, context, wait)
        queue_letter(OutgoingMail.Letter.PASSWORD_RESET, address, site_of(request))
        return redirect("password_reset_done")
    return render(request, _PAGE, context)

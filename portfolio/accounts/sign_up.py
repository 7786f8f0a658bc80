"""Sign-up by visitors, where `portfolio.sign_up` is `open`.

Where mail is sent, the answer is the same for an address that has an account: both store a user and a mail, and the
mail's text differs. So nobody learns from a sign-up who has an account.
"""

from collections.abc import Callable
from functools import wraps

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from portfolio.accounts import throttle
from portfolio.accounts.forms import NAME_TAKEN, SignUpForm
from portfolio.accounts.links import confirm_sign_up, site_of, user_of_sign_up
from portfolio.mails import queue_letter
from portfolio.models import OutgoingMail, SignUp
from stockqueue.client_address import client_address

_BACKEND = "django.contrib.auth.backends.ModelBackend"
_PAGE = "accounts/sign_up.html"

_View = Callable[..., HttpResponse]


def is_open() -> bool:
    """Whether visitors can create accounts."""
    is_open: bool = settings.JOB_PROCESSOR.portfolio.sign_up == "open"
    return is_open


def _for_visitors(view: _View) -> _View:
    """A page for visitors, not found if the sign-up is closed. Users who are logged in go to the portfolio."""

    @wraps(view)
    def page(request: HttpRequest, *args: str, **kwargs: str) -> HttpResponse:
        if not is_open():
            raise Http404
        if request.user.is_authenticated:
            return redirect("portfolio")
        return view(request, *args, **kwargs)

    return sensitive_post_parameters()(never_cache(require_http_methods(["GET", "POST"])(page)))


@_for_visitors
def sign_up(request: HttpRequest) -> HttpResponse:
    """Create a user, who is logged in at once, or has to confirm the address first."""
    form = SignUpForm(request.POST or None)
    if request.method == "POST":
        if wait := throttle.take((throttle.SIGN_UP_FORMS, client_address(request))):
            return throttle.refuse(request, _PAGE, {"form": _unchecked(form)}, wait)
        if form.is_valid():
            return _create(request, form)
    return render(request, _PAGE, {"form": form})


@_for_visitors
def sent(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/sign_up_sent.html")


@_for_visitors
def confirm(request: HttpRequest, token: str) -> HttpResponse:
    """Activate the user of a link after a click: programs that check mails open links, too."""
    user = user_of_sign_up(token)
    if user is not None and request.method == "POST" and confirm_sign_up(user):
        messages.success(request, f"The account {user} is ready. Log in with its password.")
        return redirect("login")
    return render(request, "accounts/sign_up_confirm.html", {"owner": user})


def _create(request: HttpRequest, form: SignUpForm) -> HttpResponse:
    address = form.cleaned_data["email"].lower() or None
    if wait := throttle.take((throttle.SIGN_UP_MAILS, address), (throttle.SIGN_UPS, "")):
        return throttle.refuse(request, _PAGE, {"form": _unchecked(form)}, wait)
    try:
        user = _store(form, site_of(request))
    except IntegrityError:  # another request took the name a moment ago
        form.add_error("username", NAME_TAKEN)
        return render(request, _PAGE, {"form": form})
    if not user.is_active:
        return redirect("sign_up_sent")
    login(request, user, backend=_BACKEND)
    messages.success(request, f"Welcome, {user}.")
    return redirect("portfolio")


@transaction.atomic
def _store(form: SignUpForm, site: str) -> User:
    user: User = form.save()
    if not user.is_active:
        SignUp.objects.create(user=user)
        queue_letter(OutgoingMail.Letter.SIGN_UP, user.email, site, user)
    return user


def _unchecked(form: SignUpForm) -> SignUpForm:
    """The form with its input and without its errors, which would answer a refused request."""
    form.errors.clear()
    return form

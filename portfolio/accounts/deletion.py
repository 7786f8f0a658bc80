"""The deletion of an account by its owner, with all data about the owner."""

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import OperationalError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods
from psycopg.errors import DeadlockDetected

from portfolio.accounts.forms import PasswordForm
from portfolio.models import OutgoingMail, Portfolio
from stockqueue.signed_in import signed_in

_ATTEMPTS = 5
"""The dispatch of a job of the user locks the job and then the user, and the deletion the other way round."""


@sensitive_post_parameters()
@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def delete_account(request: HttpRequest) -> HttpResponse:
    """Ask for the password, delete the account, and log out."""
    user = signed_in(request)
    is_needed = is_last_superuser(user)
    form = PasswordForm(request.POST or None, user=user)
    if not is_needed and form.is_valid():
        name = str(user)
        delete_user(user)
        logout(request)
        messages.success(request, f"The account {name} and its data were deleted.")
        return redirect("login")
    owned = Portfolio.objects.filter(user=user).count()
    return render(request, "accounts/delete.html", {"form": form, "is_needed": is_needed, "portfolios": owned})


def is_last_superuser(user: User) -> bool:
    """Whether nobody could administer the site without the user."""
    others = User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk)
    return user.is_superuser and not others.exists()


def delete_user(user: User) -> None:
    """Delete the user with all data, unsent mails and sessions. Jobs stay without the user until they are old."""
    for left in reversed(range(_ATTEMPTS)):
        try:
            _delete(user)
            break
        except OperationalError as error:
            if not left or not isinstance(error.__cause__, DeadlockDetected):
                raise
    _end_sessions(user.pk)


@transaction.atomic
def _delete(user: User) -> None:
    # The other key lock: what refers to the user is stored before the deletion, which finds it, or not at all.
    found = User.objects.select_for_update().filter(pk=user.pk).first()
    if user.email:
        OutgoingMail.objects.filter(to__iexact=user.email).delete()
    if found is not None:
        found.delete()


def _end_sessions(user_id: int) -> None:
    """Delete the sessions of a user. Their content is encoded, so each valid session has to be read."""
    for session in Session.objects.filter(expire_date__gt=timezone.now()).iterator(chunk_size=500):
        if session.get_decoded().get("_auth_user_id") == str(user_id):
            session.delete()

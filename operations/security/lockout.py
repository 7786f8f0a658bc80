"""Locks out repeated failed logins: early for a user from an address, later for an address with any users.

django-axes counts in the database, shared by all web processes. Without earlier failures, a login takes one query.
"""

import logging
from datetime import datetime, timedelta
from http import HTTPStatus
from math import ceil
from typing import Any, NamedTuple

from axes.attempts import get_cool_off_threshold
from axes.backends import AxesStandaloneBackend
from axes.handlers.database import AxesDatabaseHandler
from axes.helpers import get_client_username
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Max, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from stockqueue.demo_users import has_public_password

logger = logging.getLogger(__name__)

LONGEST_NAME: int = User._meta.get_field("username").max_length or 150


class Standing(NamedTuple):
    """The numbers of failed logins within the cool-off, and the time of the last failure."""

    of_user: int
    """As the user from the address."""
    of_address: int
    """As any user from the address."""
    last_at: datetime | None
    """The last failure of the count that locks, if any locks."""

    @property
    def is_locked(self) -> bool:
        return self.of_user >= settings.AXES_FAILURE_LIMIT or self.of_address >= settings.LOCKOUT_ADDRESS_LIMIT


class LockoutBackend(AxesStandaloneBackend):
    """Refuses locked-out users before checking a password. Programs that authenticate have no address.

    A name too long for a user is refused first: a failed login would store and log the whole name.
    """

    def authenticate(self, request: HttpRequest | None, username: str | None = None, **kwargs: Any) -> None:
        if _is_too_long(username):
            raise PermissionDenied(f"a user name has at most {LONGEST_NAME} characters")
        if not settings.DEBUG and has_public_password(username, kwargs.get("password")):
            raise PermissionDenied("the passwords of the demo users are public")
        if request is not None:
            super().authenticate(request, username=username, **kwargs)


class LockoutHandler(AxesDatabaseHandler):
    """Counts failures by user and address with a limit, and by address with another limit, in a single query."""

    def get_failures(self, request: Any, credentials: dict[str, Any] | None = None) -> int:
        standing = request.standing = _standing(request, get_client_username(request, credentials))
        return max(standing.of_user, settings.AXES_FAILURE_LIMIT if standing.is_locked else 0)

    def user_login_failed(self, sender: Any, credentials: dict[str, Any], request: Any = None, **kwargs: Any) -> None:
        if request is None:
            return
        username = get_client_username(request, credentials)
        if _is_too_long(username):  # nobody has that name, so nothing was guessed
            logger.warning("login of a name of %d characters from %s refused", len(username), request.axes_ip_address)
            return
        was_locked = request.axes_locked_out
        super().user_login_failed(sender, credentials, request, **kwargs)
        what = "refused" if was_locked else "failed, and is locked out now" if request.axes_locked_out else "failed"
        logger.warning("login of %r from %s %s", username, request.axes_ip_address, what)

    def user_logged_in(self, sender: Any, request: Any, user: User, **kwargs: Any) -> None:
        """Clear a user's failures from an address. The address keeps its count: an attacker may own an account."""
        standing = getattr(request, "standing", None)
        if standing is not None and standing.of_user:
            forget(user.get_username(), request.axes_ip_address)

    def user_logged_out(self, sender: Any, request: Any, user: User | None, **kwargs: Any) -> None:
        """Do nothing: logging out does not affect lockouts."""


def forget(username: str | None, address: str | None) -> None:
    """Let a user log in from an address again."""
    AccessAttempt.objects.filter(username=username, ip_address=address).delete()


def forget_deleted(sender: type[User], instance: User, **_more: Any) -> None:
    """Delete the failed logins of a user who was deleted: they hold the name."""
    AccessAttempt.objects.filter(username=instance.get_username()).delete()


def refuse(request: Any, response: HttpResponse | None, credentials: dict[str, Any] | None) -> HttpResponse:
    """The posted login page, with the remaining wait; status 429."""
    wait: timedelta = request.standing.last_at + settings.AXES_COOLOFF_TIME - request.axes_attempt_time
    minutes = max(1, ceil(wait.total_seconds() / 60))
    message = (
        f"Too many failed logins from your address. Try again in {minutes} minute{'' if minutes == 1 else 's'}, "
        "or ask an administrator to unlock you."
    )
    form = (response.context_data or {}).get("form") if isinstance(response, TemplateResponse) else None
    if form is not None and isinstance(response, TemplateResponse):
        form.errors.clear()
        form.add_error(None, message)
        response.content = response.rendered_content
    else:
        response = HttpResponse(message, content_type="text/plain")
    response.status_code = HTTPStatus.TOO_MANY_REQUESTS
    response["Retry-After"] = str(ceil(wait.total_seconds()))
    return response


def _is_too_long(username: str | None) -> bool:
    return username is not None and len(username) > LONGEST_NAME


def _standing(request: Any, username: str | None) -> Standing:
    user = Q(username=username)
    found = AccessAttempt.objects.filter(
        ip_address=request.axes_ip_address, attempt_time__gt=get_cool_off_threshold(request)
    ).aggregate(
        of_user=Sum("failures_since_start", filter=user, default=0),
        of_address=Sum("failures_since_start", default=0),
        last_of_user=Max("attempt_time", filter=user),
        last_of_address=Max("attempt_time"),
    )
    by_address = found["of_address"] >= settings.LOCKOUT_ADDRESS_LIMIT
    last_at = found["last_of_address" if by_address else "last_of_user"]
    return Standing(found["of_user"], found["of_address"], last_at)

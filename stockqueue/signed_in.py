"""The user of a request."""

from django.contrib.auth.models import User
from django.http import HttpRequest


def signed_in(request: HttpRequest) -> User:
    """The user of a request that only signed-in users can make: behind `login_required`, or in the admin."""
    assert isinstance(request.user, User)  # noqa: S101  (for the type checker; the view has been refused otherwise)
    return request.user

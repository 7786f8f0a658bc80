"""The user of a request."""

from collections.abc import Callable
from functools import wraps

from django.contrib.auth.models import User
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse

_View = Callable[..., HttpResponse]


def signed_in(request: HttpRequest) -> User:
    """The user of a request that only signed-in users can make: behind `login_required`, or in the admin."""
    assert isinstance(request.user, User)  # noqa: S101  (for the type checker; the view has been refused otherwise)
    return request.user


def one_change_at_a_time(view: _View) -> _View:
    """A page behind `login_required` whose forms are answered one after another for each user, each in a transaction.

    So what a view has checked still holds when the view stores, whatever the user's other tabs send meanwhile.
    """

    @wraps(view)
    def page(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if request.method != "POST":
            return view(request, *args, **kwargs)
        with transaction.atomic():
            lock_user(signed_in(request))
            return view(request, *args, **kwargs)

    return page


def lock_user(user: User) -> None:
    """Wait until no other changes of the user are under way, in the caller's transaction. 404 if the user is gone."""
    if User.objects.select_for_update(no_key=True).filter(pk=user.pk).first() is None:
        raise Http404("This account was deleted.")

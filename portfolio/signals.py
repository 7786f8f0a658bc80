import logging
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest

from portfolio.fetching import fetch_stale_holdings

logger = logging.getLogger(__name__)


def fetch_what_is_stale(sender: type[User], user: User, request: HttpRequest, **_more: Any) -> None:
    """Enqueue fetches of the user's stale stocks on login. Errors are logged, and never fail the login."""
    try:
        requested = fetch_stale_holdings(user, request.session)
    except Exception:
        logger.exception("login of user %s: the stale stocks could not be enqueued", user.pk)
    else:
        logger.info("login of user %s: %s", user.pk, requested)

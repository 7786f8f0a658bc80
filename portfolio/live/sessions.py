"""Whether the people at open pages are still logged in."""

from collections.abc import Sequence

from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.utils import timezone

from portfolio.live.messages import GONE
from portfolio.live.pages import OpenPage


def logged_in(pages: Sequence[OpenPage]) -> list[tuple[OpenPage, User]]:
    """The pages with their users, in two queries. Pages without a session are told so, and end."""
    sessions = Session.objects.filter(session_key__in={page.session for page in pages}, expire_date__gt=timezone.now())
    keys = set(sessions.values_list("session_key", flat=True))
    users = User.objects.filter(is_active=True).in_bulk({page.user for page in pages})
    admitted = []
    for page in pages:
        user = users.get(page.user)
        if page.session in keys and user is not None and user.get_session_auth_hash() == page.session_hash:
            admitted.append((page, user))
        else:
            page.send([GONE])
            page.end()
    return admitted

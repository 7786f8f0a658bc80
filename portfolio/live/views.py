"""The stream of a page: the check of the user's rights, and the changes that the page has missed."""

import math
from datetime import UTC, datetime, timedelta

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from portfolio.live.changes import changed_since, shown_symbols
from portfolio.live.fragments import parts
from portfolio.live.listener import listener
from portfolio.live.messages import FIGURES
from portfolio.live.pages import NoRoom, OpenPage, open_pages
from portfolio.live.stream import Offer, offer_in
from portfolio.stock_views import find_or_404
from portfolio.visit import login_in
from stockqueue.signed_in import signed_in

MARGIN = timedelta(seconds=10)
"""Changes are committed after the time that they note, by a clock that may be another machine's."""
RETRY_AFTER = 60
"""Seconds after which a page asks again if there was no room."""


@login_required
@never_cache
@require_GET
def live(request: HttpRequest) -> HttpResponse:
    """Changes of the user's holdings, or of one `stock`, as server-sent events. `since`: when the page was rendered.

    204 from a server that needs a thread for each stream, 503 if there are too many streams.
    """
    user, offer = signed_in(request), offer_in(request.META)
    try:
        since = _moment(request.GET.get("since", ""))
    except ValueError as error:
        return HttpResponseBadRequest(str(error), content_type="text/plain")
    stock = request.GET.get("stock", "")
    symbol = find_or_404(request, stock).symbol if stock else ""
    if offer is None:
        return HttpResponse(status=204)
    page = _page(request, user, symbol)
    try:
        _open(page, offer)
    except NoRoom:
        return HttpResponse(
            "Too many pages are open.", status=503, headers={"Retry-After": RETRY_AFTER}, content_type="text/plain"
        )
    _catch_up(page, user, since)
    # nginx would gather a stream until its buffer is full.
    return HttpResponse(content_type="text/event-stream; charset=utf-8", headers={"X-Accel-Buffering": "no"})


def _page(request: HttpRequest, user: User, stock: str) -> OpenPage:
    return OpenPage(
        user=user.pk,
        session=request.session.session_key or "",
        session_hash=user.get_session_auth_hash(),
        symbols=frozenset({stock}) if stock else shown_symbols(user),
        stock=stock,
        login=login_in(request.session),
    )


def _open(page: OpenPage, offer: Offer) -> None:
    offer.page = page  # the server removes the page in any case
    open_pages.add(page)
    listener.start()


def _catch_up(page: OpenPage, user: User, since: datetime) -> None:
    """Send what has changed since the page was rendered. Later changes come from the listener, perhaps twice."""
    symbols = changed_since(since - MARGIN, page.symbols)
    if symbols:
        page.send([FIGURES] if page.stock else parts(user, symbols).of(page.login))


def _moment(text: str) -> datetime:
    """A Unix time; ValueError for anything else."""
    try:
        seconds = float(text)
        if math.isfinite(seconds) and seconds > MARGIN.total_seconds():
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise ValueError(f"since: {text[:40]!r} is not a Unix time in seconds, such as 1764000000.5")

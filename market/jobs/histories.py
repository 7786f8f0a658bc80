"""Enqueues the histories of stocks that nobody analyses, such as exchange rates and indices."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db.models import Min

from market.jobs.requests import request_fetches
from market.models import Stock
from tasks.enqueue import EnqueueResult
from tasks.models import Job

HISTORY = timedelta(days=735)
"""The history to fetch: about 504 sessions."""
_SLACK = timedelta(days=15)
"""The longest time that an exchange stays closed."""
_AGAIN_AFTER = timedelta(days=1)


def request_histories(stocks: Sequence[Stock], user: User, now: datetime) -> EnqueueResult:
    """Enqueue a fetch of HISTORY for each stock whose bars begin later, at most once a day for a stock."""
    first_day = (now - HISTORY).date()
    begins = dict(
        Stock.objects.filter(pk__in=[one.pk for one in stocks]).values_list("pk").annotate(Min("bars__date"))
    )
    short = [one for one in stocks if (begun := begins.get(one.pk)) is None or begun > first_day + _SLACK]
    wanted = [one for one in short if one.status == Stock.Status.ACTIVE and one.history_starts is None]
    lately = Job.objects.filter(symbol__in=[one.symbol for one in wanted], created_at__gte=now - _AGAIN_AFTER)
    asked = set(lately.filter(parameters__has_key="start").values_list("symbol", flat=True)) if wanted else set()
    missing = [one for one in wanted if one.symbol not in asked]
    return request_fetches(missing, Job.Trigger.USER_REQUEST, user, start=first_day) if missing else EnqueueResult()

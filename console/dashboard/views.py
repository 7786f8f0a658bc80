"""Wrapper of the views of the page "Stock data": an error page while the database is away."""

import logging
from collections.abc import Callable

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from operations.monitoring import health
from operations.monitoring.health import Readiness

logger = logging.getLogger(__name__)

FOLDER = "admin/operations/stockdata"
REFRESH_SECONDS = 5
"""Seconds between two refreshes of the figures on an open page."""
CHARTS_REFRESH_SECONDS = 60
"""Seconds between two refreshes of the charts."""


def needs_database(
    view: Callable[[HttpRequest, Readiness], HttpResponse], away: str
) -> Callable[[HttpRequest], HttpResponse]:
    """Pass the readiness of the servers to the view; while the database is away, render `away` with status 503.

    The user is unknown without the database, so `away` shows only the public facts of /health/ready.
    """

    @never_cache
    @require_safe
    def look_first(request: HttpRequest) -> HttpResponse:
        readiness = health.readiness()
        database = readiness.checks["database"]
        if database == health.OK:
            try:
                return view(request, readiness)
            except (InterfaceError, OperationalError) as error:
                logger.warning("stock data: %s", str(error).partition("\n")[0])
                database = health.SILENT
        return render(request, f"{FOLDER}/{away}", {"database": database, "every": REFRESH_SECONDS}, status=503)

    return look_first

"""How the page "Stock data" answers: with the figures, or with the word that the database is away."""

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
EVERY = 5
"""Seconds between two looks of an open page at its figures."""
CHARTS_EVERY = 60
"""The same at its charts."""


def needs_database(
    view: Callable[[HttpRequest, Readiness], HttpResponse], away: str
) -> Callable[[HttpRequest], HttpResponse]:
    """The view, handed what the servers say; while the database is away, 503 with the template `away` instead.

    Whoever asks is not known then, and is told nothing that /health/ready does not tell everybody.
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
        return render(request, f"{FOLDER}/{away}", {"database": database, "every": EVERY}, status=503)

    return look_first

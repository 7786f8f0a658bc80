"""Django system checks of the configuration; every start of a command or a worker runs them."""

import os
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from market.symbols import InvalidSymbol, parse_symbol


@register()
def check_ignored_keys(**_: Any) -> list[CheckMessage]:
    """W001: keys of the configuration file without an effect here."""
    return [
        Warning(
            f"job_processor.yml: {note}",
            hint="Remove the key, or keep it for the PHP predecessor.",
            id="stockqueue.W001",
        )
        for note in settings.JOB_PROCESSOR.notes
    ]


@register()
def check_llm_model(**_: Any) -> list[CheckMessage]:
    """W002: an LLM key or server is configured without a model."""
    named = [name for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY") if os.environ.get(name, "").strip()]
    if settings.LLM is not None or not named:
        return []
    return [
        Warning(
            f"{named[0]} is set without a model: no LLM is used.",
            hint="Set OPENAI_MODEL, or integration.apis.openai.model in job_processor.yml.",
            id="stockqueue.W002",
        )
    ]


@register()
def check_watchlist(**_: Any) -> list[CheckMessage]:
    """E002: a symbol of the watchlist that no source can know."""
    found: list[CheckMessage] = []
    for text in settings.JOB_PROCESSOR.market.watchlist:
        try:
            parse_symbol(text)
        except InvalidSymbol as error:
            found.append(
                Error(
                    f"market.watchlist: {error}",
                    hint="Write symbols as Yahoo Finance does: ^GSPC, EURUSD=X, BTC-USD, GC=F.",
                    id="stockqueue.E002",
                )
            )
    return found


@register()
def check_sample_source(**_: Any) -> list[CheckMessage]:
    """E001: invented prices must not reach real users."""
    if settings.DEBUG or "sample" not in settings.JOB_PROCESSOR.stock_jobs.data_fetch.sources:
        return []
    return [
        Error(
            "stock_jobs.data_fetch.sources contains sample, a source of invented prices, and DJANGO_DEBUG is off.",
            hint="Remove sample from the sources.",
            id="stockqueue.E001",
        )
    ]

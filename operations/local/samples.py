"""A choice between Yahoo and the sample prices, for a system on a machine that may have no way to Yahoo."""

import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from email.message import Message
from pathlib import Path
from typing import IO, Any

import yaml
from django.conf import settings
from django.db import transaction

from market.models import PriceBar, Stock

YAHOO, SAMPLE = "yahoo_finance", "sample"
ADDRESS = "https://query1.finance.yahoo.com/"
PATIENCE = 5.0
"""The most seconds for Yahoo's answer."""


def write_configuration(original: Path, file: Path, sources: Sequence[str]) -> Path:
    """Write the configuration of `original` to `file`, with other sources, and without analyses at a login."""
    content = yaml.safe_load(original.read_text(encoding="utf-8"))
    for section in (content, content.get(settings.ENVIRONMENT)):
        if section and (section is content or "job_processor" in section):
            jobs = section["job_processor"].setdefault("stock_jobs", {})
            jobs.setdefault("data_fetch", {})["sources"] = list(sources)
            jobs.setdefault("analysis", {})["at_login"] = []
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


class YahooCheck:
    """Asks Yahoo in a thread whether it answers at all, while the program does other work.

    Without yfinance, whose import takes longer than the answer.
    """

    def __init__(self) -> None:
        self._problem = f"no answer within {PATIENCE:.0f} s"
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def why_unreachable(self) -> str:
        """Why Yahoo gives no answer; empty for any answer, even a refusal. Waits for PATIENCE seconds at most."""
        self._thread.join(PATIENCE)
        return self._problem

    def _ask(self) -> None:
        try:
            with _opener().open(ADDRESS, timeout=PATIENCE):
                self._problem = ""
        except urllib.error.HTTPError:
            self._problem = ""
        except urllib.error.URLError as error:
            self._problem = _reason_of(error.reason)
        except OSError as error:
            self._problem = _reason_of(error)


def _opener() -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = [
        _NoRedirects(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=settings.YAHOO_CA_BUNDLE)),
    ]
    if settings.YAHOO_PROXY:
        handlers.append(urllib.request.ProxyHandler({"https": settings.YAHOO_PROXY}))
    return urllib.request.build_opener(*handlers)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for an answer."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


def _reason_of(error: Any) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is not known here"
    return str(getattr(error, "strerror", None) or error)


def has_real_prices() -> bool:
    """Whether bars of another source than the samples are stored."""
    return Stock.objects.exclude(source__in=("", SAMPLE)).exists()


def forget_samples() -> int:
    """Delete the stored samples, so that their stocks are fetched anew. Returns the number of stocks."""
    with transaction.atomic():
        stocks = Stock.objects.filter(source=SAMPLE)
        PriceBar.objects.filter(stock__in=stocks).delete()
        return stocks.update(
            **dict.fromkeys(("source", "name", "exchange", "currency"), ""),
            **dict.fromkeys(("checked_at", "charted_at", "last_bar_on", "history_starts", "volatility")),
            bars_changed_at=None,
            is_outdated=False,
        )

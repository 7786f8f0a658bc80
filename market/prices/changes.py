"""Tells rooms above about changed prices. A room registers its function in `AppConfig.ready()`."""

import logging
from collections.abc import Callable, Sequence

from django.db import transaction

from market.models import Stock

logger = logging.getLogger(__name__)

Watcher = Callable[[Sequence[Stock]], object]
"""Gets the stocks whose bars have changed, in the transaction that has stored the bars. The stocks are locked."""

_watchers: list[Watcher] = []


def watch_prices(watcher: Watcher) -> None:
    """Call `watcher` after each change of bars. It must be quick, because the transaction waits for it."""
    if watcher not in _watchers:
        _watchers.append(watcher)


def tell_changes(stocks: Sequence[Stock]) -> None:
    """Call all watchers. A watcher that fails is logged, loses its own writes, and never fails the transaction."""
    for watcher in _watchers if stocks else ():
        try:
            with transaction.atomic():
                watcher(stocks)
        except Exception:
            names = ", ".join(stock.symbol for stock in stocks)
            logger.exception("changed prices of %s: %s failed", names, watcher.__name__)

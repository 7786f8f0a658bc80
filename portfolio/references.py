"""References: exchange rates and benchmarks, which owners' pages need even if nobody holds them."""

from collections.abc import Iterable
from datetime import datetime

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef

from market.exchange_rates import rate_symbols
from market.freshness import stale_at
from market.jobs.histories import request_histories
from market.jobs.requests import request_fetches
from market.models import Stock
from portfolio.models import DEFAULT_BENCHMARK, Holding, Portfolio, Preferences
from tasks.models import Job


def rates_for(held: Iterable[Stock], user: User) -> list[Stock]:
    """The exchange rates between the currencies of the stocks and the user's base currency. Creates missing pairs."""
    currencies = {stock.currency for stock in held if stock.currency}
    return find_references(rate_symbols([*currencies, Preferences.of(user).currency])) if currencies else []


def find_references(symbols: list[str]) -> list[Stock]:
    """The stocks with the symbols. Creates missing stocks; writes nothing if all are known."""
    known = list(Stock.objects.filter(symbol__in=symbols)) if symbols else []
    return known if len(known) == len(symbols) else Stock.objects.find_or_create(symbols)


def request_history(portfolio: Portfolio, preferences: Preferences, now: datetime) -> bool:
    """Enqueue the short histories among a portfolio's references. Returns whether any was enqueued."""
    traded = portfolio.holdings.exclude(stock__currency="").order_by().values_list("stock__currency", flat=True)
    symbols = [*rate_symbols({*traded.distinct(), preferences.currency}), preferences.benchmark]
    return bool(request_histories(find_references(symbols), preferences.user, now).jobs)


def request_references(preferences: Preferences, now: datetime) -> None:
    """Enqueue the data that new preferences need: stale exchange rates, and the benchmark's history."""
    user = preferences.user
    held = Stock.objects.filter(holdings__portfolio__user=user).distinct()
    request_fetches(stale_at(rates_for(held, user), now), Job.Trigger.USER_REQUEST, user)
    request_histories(find_references([preferences.benchmark]), user, now)


def rates_in_use() -> list[str]:
    """The symbols of the exchange rates that the pages of all active users need."""
    held = Holding.objects.filter(stock=OuterRef("pk"), portfolio__user__is_active=True)
    traded = set(Stock.objects.filter(Exists(held)).order_by().values_list("currency", flat=True).distinct())
    if not traded:
        return []
    chosen = Preferences.objects.filter(user__is_active=True).exclude(base_currency="")
    return rate_symbols(
        {*traded, settings.JOB_PROCESSOR.portfolio.base_currency}
        | set(chosen.order_by().values_list("base_currency", flat=True).distinct())
    )


def benchmarks_in_use() -> list[str]:
    """The symbols of the benchmarks that active users have chosen, and of the default."""
    chosen = Preferences.objects.filter(user__is_active=True).order_by().values_list("benchmark", flat=True)
    return sorted({DEFAULT_BENCHMARK, *chosen.distinct()})

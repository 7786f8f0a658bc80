"""The data of a stock's page: its price, the user's holdings of the stock, and its analyses."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from market.currency import major_unit
from market.freshness import Freshness
from market.jobs.watchlist import watched_symbols
from market.models import Analysis, NewsItem, Stock
from market.news import newest_news
from portfolio.badges import Badge, Fetch, badge_of, newest_fetch
from portfolio.fundamentals import Group, groups_of
from portfolio.models import Holding, PriceAlert
from portfolio.splits.notes import SplitNote, split_notes
from tasks.models import Job

RECOMMENDATIONS_SHOWN = 10
HEADLINES_SHOWN = 10


@dataclass(frozen=True)
class Suspicious:
    """A close that is not used until the next session confirms it; `percent`: its change since the close before."""

    date: date
    price: Decimal
    percent: float


@dataclass(frozen=True)
class Quote:
    """The newest close and its change since the close before, in `currency`.

    `suspicious`: the newest of the suspicious closes after `date`; None without one.
    """

    price: Decimal
    currency: str
    date: date
    change: Decimal | None
    percent: float | None
    suspicious: Suspicious | None


@dataclass(frozen=True)
class StockPage:
    """A stock as shown on its page.

    `held` and `cost` add up the user's holdings, 0 without any; `cost` is None if a holding has no buy price, and
    `value` is None for an unknown price. `analyses` holds the newest analysis of each kind. `fetch`: the newest
    ordinary fetch.
    """

    stock: Stock
    quote: Quote | None
    badge: Badge
    fetch: Fetch | None
    is_analysing: bool
    held: Decimal
    cost: Decimal | None
    analyses: dict[str, Analysis]
    news: Sequence[NewsItem]
    splits: Sequence[SplitNote]
    recommendations: Sequence[Analysis]

    @property
    def fundamentals(self) -> list[Group]:
        """The newest snapshot in groups; empty without a snapshot."""
        return groups_of(self.analyses.get(Analysis.Kind.FUNDAMENTAL))

    @property
    def value(self) -> Decimal | None:
        return None if self.quote is None else self.quote.price * self.held

    @property
    def gain(self) -> Decimal | None:
        return None if self.value is None or self.cost is None else self.value - self.cost

    @property
    def version(self) -> str:
        """Changes whenever the chart may have changed."""
        changed = self.stock.bars_changed_at
        return "" if changed is None else changed.isoformat()


def find_stock(symbol: str, user: User) -> Stock | None:
    """A stock that the user may see: held, with an alert, on the watchlist, or any with the permission to view stocks.

    Other users do not learn that somebody holds the stock.
    """
    return visible_stocks(user).filter(symbol=symbol).first()


def visible_stocks(user: User) -> QuerySet[Stock]:
    """The stocks that the user may see, as in `find_stock`."""
    if user.has_perm("market.view_stock"):
        return Stock.objects.all()
    held = Holding.objects.filter(portfolio__user=user, stock=OuterRef("pk"))
    alerts = PriceAlert.objects.filter(user=user, stock=OuterRef("pk"))
    return Stock.objects.filter(Exists(held) | Exists(alerts) | Q(symbol__in=watched_symbols()))


def stock_page(stock: Stock, user: User) -> StockPage:
    """All data of the page, in a fixed number of queries."""
    now = timezone.now()
    jobs = Job.objects.filter(symbol=stock.symbol)
    analyses = jobs.filter(job_type__in=(Job.Type.STOCK_ANALYSIS, Job.Type.STOCK_RESEARCH))
    found: Any = (
        Stock.objects.filter(pk=stock.pk)
        .annotate(analysing=Exists(analyses.active()), fetch=newest_fetch("symbol"))
        .get()
    )
    freshness, fetch, quote = Freshness.of([found], now), Fetch.read(found.fetch), _quote(found)
    held = Holding.objects.filter(portfolio__user=user, stock=stock).aggregate(
        held=Sum("shares"), paid=Sum(F("shares") * F("buy_price")), costless=Count("pk", filter=Q(buy_price=None))
    )
    return StockPage(
        stock=found,
        quote=quote,
        badge=badge_of(found, quote.date if quote else None, fetch, freshness),
        fetch=fetch,
        is_analysing=found.analysing,
        held=held["held"] or Decimal(0),
        cost=None if held["costless"] else (held["paid"] or Decimal(0)) / major_unit(found.currency).parts,
        analyses={one.kind: one for one in Analysis.objects.newest([found])},
        news=newest_news(found, HEADLINES_SHOWN),
        splits=split_notes(user, found),
        recommendations=list(Analysis.objects.filter(stock=found).exclude(recommendation="")[:RECOMMENDATIONS_SHOWN]),
    )


def _quote(stock: Stock) -> Quote | None:
    closes = list(stock.bars.trusted().order_by("-date").values_list("date", "close")[:2])
    if not closes:
        return None
    unit = major_unit(stock.currency)
    (day, close), before = closes[0], closes[1][1] if len(closes) > 1 else None
    price = Decimal(repr(close)) / unit.parts
    change = price - Decimal(repr(before)) / unit.parts if before else None
    percent = 100 * (close / before - 1) if before else None
    suspicious = None
    if stock.last_bar_on is not None and stock.last_bar_on > day:
        newest = stock.bars.filter(date__gt=day).order_by("-date").values_list("date", "close").first()
        if newest is not None and close:
            percent_of_jump = 100 * (newest[1] / close - 1)
            suspicious = Suspicious(newest[0], Decimal(repr(newest[1])) / unit.parts, percent_of_jump)
    return Quote(price, unit.currency, day, change, percent, suspicious)

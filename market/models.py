from collections.abc import Iterable, Sequence
from typing import Self

from django.db import models
from django.db.models import Max, Q
from django.utils import timezone

from market.recommendation import Action
from market.symbols import SymbolField


class StockManager(models.Manager["Stock"]):
    def get_by_natural_key(self, symbol: str) -> "Stock":
        return self.get(symbol=symbol)

    def find_or_create(self, symbols: Sequence[str]) -> list["Stock"]:
        """Find or create the stocks with the symbols (unique and normalised); in the same order."""
        self.bulk_create((self.model(symbol=symbol) for symbol in symbols), ignore_conflicts=True)
        known = self.in_bulk(symbols, field_name="symbol")
        return [known[symbol] for symbol in symbols]


class Stock(models.Model):
    """An instrument, known by its symbol. `checked_at` is the time of a source's last answer for the stock.

    A stock that no source has known on three days is parked, as `unknown` or (if bars are stored) `delisted`. Logins
    and schedules skip parked stocks. A manual fetch that finds bars makes the stock `active` again.
    """

    class Status(models.TextChoices):
        ACTIVE = "active"
        UNKNOWN = "unknown"
        DELISTED = "delisted"

    symbol = SymbolField(unique=True)
    name = models.CharField(max_length=200, blank=True)
    exchange = models.CharField(max_length=40, blank=True)
    currency = models.CharField(max_length=8, blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    checked_at = models.DateTimeField(null=True, blank=True, db_index=True)
    misses = models.PositiveSmallIntegerField(
        default=0, editable=False, help_text="Number of days on which no source knew the stock, since one last did."
    )
    missed_on = models.DateField(
        null=True, blank=True, editable=False, help_text="Last day on which no source knew the stock."
    )
    renamed_to = SymbolField(
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="The only other symbol that a source lists under the stock's name.",
    )
    searched_on = models.DateField(
        null=True, blank=True, editable=False, help_text="Last day on which a source was asked for a new symbol."
    )
    source = models.CharField(max_length=40, blank=True, help_text="Source of the newest bars.")
    last_bar_on = models.DateField(null=True, blank=True, editable=False, help_text="Day of the newest bar.")
    charted_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Time of the last chart that reached the newest bar."
    )
    needs_settling = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="Whether the chart is fetched again after the session, because a quote did not continue the bars.",
    )
    history_starts = models.DateField(
        null=True, blank=True, editable=False, help_text="First day with a bar, if a source had no earlier bars."
    )
    is_outdated = models.BooleanField(
        default=False, editable=False, help_text="Whether a source has adjusted older bars since they were stored."
    )
    bars_changed_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Time of the last fetch that added, changed or removed bars."
    )
    volatility = models.FloatField(
        null=True,
        blank=True,
        editable=False,
        help_text="Annualised volatility of the last 20 daily returns; 0.35 is 35 %.",
    )

    objects = StockManager()

    class Meta:
        ordering = ["symbol"]

    def __str__(self) -> str:
        return self.symbol

    def natural_key(self) -> tuple[str]:
        return (self.symbol,)


# Far beyond any price; NaN and infinity fail a comparison with the limit in every database.
ABSURD_PRICE = 1e15
LARGEST_VOLUME = models.BigIntegerField.MAX_BIGINT


class SecurityNumber(models.Model):
    """The symbol of a security's number, as a person has assigned it, for imports of portfolios."""

    number = models.CharField(max_length=20, unique=True, help_text="ISIN, CUSIP or WKN.")
    symbol = SymbolField()

    class Meta:
        ordering = ["number"]

    def __str__(self) -> str:
        return f"{self.number} {self.symbol}"


class PriceBarQuerySet(models.QuerySet["PriceBar"]):
    """Queries for bars."""

    def trusted(self) -> Self:
        """The bars without a suspicious close, for analyses, values and priorities."""
        return self.filter(is_suspicious=False)


class PriceBar(models.Model):
    """A day of a stock, in the stock's currency. Prices are doubles, as from the sources.

    A bar is suspicious if its close jumps without a split or dividend, until the next session confirms the jump.
    """

    stock = models.ForeignKey(Stock, on_delete=models.CASCADE, related_name="bars")
    date = models.DateField(help_text="Calendar day at the exchange.")
    open = models.FloatField(null=True, blank=True)
    high = models.FloatField(null=True, blank=True)
    low = models.FloatField(null=True, blank=True)
    close = models.FloatField()
    adj_close = models.FloatField(null=True, blank=True)
    volume = models.BigIntegerField(null=True, blank=True)
    is_suspicious = models.BooleanField(default=False, db_default=False, editable=False)

    objects = PriceBarQuerySet.as_manager()

    class Meta:
        ordering = ["stock", "-date"]
        indexes = [models.Index(fields=["stock", "date"], condition=Q(is_suspicious=True), name="suspicious_bars")]
        constraints = [
            models.UniqueConstraint(fields=["stock", "date"], name="one_bar_a_day"),
            models.CheckConstraint(
                condition=Q(close__gt=-ABSURD_PRICE, close__lt=ABSURD_PRICE), name="close_is_a_number"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.stock} {self.date}"


class StockSplit(models.Model):
    """A split of a stock, as a source tells it: each `denominator` shares became `numerator` on `date`.

    A split that the source tells no more stays as a row, withdrawn. `market.splits` writes the rows, and rooms that
    keep numbers of shares or prices follow each row and each withdrawal once.
    """

    stock = models.ForeignKey(Stock, on_delete=models.CASCADE, related_name="splits")
    date = models.DateField(help_text="First day after the split, at the exchange.")
    numerator = models.PositiveIntegerField(help_text="New shares.")
    denominator = models.PositiveIntegerField(help_text="Old shares.")
    missing_since = models.DateTimeField(null=True, blank=True, help_text="Time of the first chart without the split.")
    withdrawn_at = models.DateTimeField(null=True, blank=True, help_text="Time when the source had withdrawn it.")
    followed_at = models.DateTimeField(
        null=True, blank=True, help_text="Time when the last holding was adjusted to the split or its withdrawal."
    )

    class Meta:
        default_permissions = ("view",)
        ordering = ["-date", "-id"]
        indexes = [models.Index(fields=["date"], condition=Q(followed_at=None), name="splits_to_follow")]
        constraints = [
            models.UniqueConstraint(fields=["stock", "date", "numerator", "denominator"], name="one_row_a_split"),
            models.CheckConstraint(condition=Q(numerator__gt=0, denominator__gt=0), name="split_above_zero"),
        ]

    def __str__(self) -> str:
        return f"{self.stock} {self.ratio} {self.date}"

    @property
    def ratio(self) -> str:
        """`4:1`."""
        return f"{self.numerator}:{self.denominator}"


class BarDecision(models.Model):
    """A person's decision about a stock's bar of a day. Fetches respect it until it is revoked."""

    class Kind(models.TextChoices):
        ACCEPTED = "accepted"
        """The bar is right, however far it jumps."""
        LOCKED = "locked"
        """The bar stays as it is, perhaps corrected by hand."""
        DELETED = "deleted"
        """No bar of the day is stored."""

    stock = models.ForeignKey(Stock, on_delete=models.CASCADE, related_name="bar_decisions")
    date = models.DateField(help_text="Calendar day at the exchange.")
    kind = models.CharField(max_length=10, choices=Kind)
    decided_at = models.DateTimeField(default=timezone.now)
    decided_by = models.CharField(max_length=150, blank=True, help_text="User name.")
    before = models.JSONField(default=dict, help_text="Values of the bar before the decision.")

    class Meta:
        ordering = ["-decided_at", "-id"]
        permissions = [("decide_bar", "Can accept, correct, lock and delete bars")]
        constraints = [models.UniqueConstraint(fields=["stock", "date"], name="one_decision_a_bar")]

    def __str__(self) -> str:
        return f"{self.stock} {self.date}: {self.kind}"


class AnalysisQuerySet(models.QuerySet["Analysis"]):
    """Queries for analyses."""

    def newest(self, stocks: Iterable[Stock]) -> Self:
        """The newest analysis of each of the stocks and each kind."""
        newest = Analysis.objects.filter(stock__in=stocks).order_by().values("stock", "kind").annotate(last=Max("pk"))
        return self.filter(pk__in=newest.values("last"))

    def latest_of(self, stock: Stock, kind: str) -> "Analysis | None":
        """The newest analysis of a stock and kind; None without an analysis."""
        return self.filter(stock=stock, kind=kind).order_by("-pk").first()


class Analysis(models.Model):
    """The result of analysing a stock once. Earlier analyses are kept; the highest id counts."""

    class Kind(models.TextChoices):
        """As in `stock_jobs.analysis.analysis_priority`."""

        TECHNICAL = "technical"
        SENTIMENT = "sentiment"
        FUNDAMENTAL = "fundamental"
        NEWS = "news"

    # The index serves queries by stock, too.
    stock = models.ForeignKey(Stock, on_delete=models.CASCADE, related_name="analyses", db_index=False)
    kind = models.CharField(max_length=12, choices=Kind)
    created_at = models.DateTimeField(default=timezone.now)
    data_as_of = models.DateField(
        null=True, blank=True, help_text="The day of the newest bar or headline, or of the snapshot."
    )
    bars = models.PositiveIntegerField(null=True, blank=True, help_text="Number of analysed bars.")
    bars_changed_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="The stock's bars_changed_at when the bars were read; the analysis is outdated if it changes.",
    )
    values = models.JSONField(default=dict, help_text="Values by name; null if unknown.")
    recommendation = models.CharField(max_length=4, choices=Action, blank=True)
    confidence = models.FloatField(null=True, blank=True, help_text="0 to 1.")
    contributions = models.JSONField(default=list, help_text="Signals or headlines behind the recommendation.")
    version = models.CharField(max_length=100, help_text="Version of the rule or the model.")
    tokens = models.PositiveIntegerField(null=True, blank=True, help_text="Tokens used by the LLM.")
    cost = models.FloatField(
        null=True, blank=True, help_text="Cost of the tokens, in the currency of the configured prices."
    )

    objects = AnalysisQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "analyses"
        indexes = [
            models.Index(fields=["stock", "kind", "id"], name="analysis_newest"),
            models.Index(fields=["created_at"], name="analysis_age"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(confidence__gte=0, confidence__lte=1), name="confidence_is_0_to_1"),
        ]

    def __str__(self) -> str:
        return f"{self.stock} {self.kind} {self.created_at:%Y-%m-%d %H:%M}"


class NewsItem(models.Model):
    """A headline about a stock from a source, and its sentiment. Strangers' text: never trusted."""

    # The index serves queries by stock, too.
    stock = models.ForeignKey(Stock, on_delete=models.CASCADE, related_name="news", db_index=False)
    external_id = models.CharField(
        max_length=100, help_text="Id from the source, or derived from the address or title."
    )
    title = models.CharField(max_length=300)
    publisher = models.CharField(max_length=100, blank=True)
    url = models.URLField(
        max_length=1000, blank=True, help_text="Address with http or https; empty for any other scheme."
    )
    published_at = models.DateTimeField()
    sentiment = models.FloatField(help_text="Sentiment of the title, from -1 (negative) to 1 (positive).")

    class Meta:
        ordering = ["-published_at", "-id"]
        indexes = [
            models.Index(fields=["stock", "-published_at"], name="news_newest"),
            models.Index(fields=["published_at", "id"], name="news_age"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["stock", "external_id"], name="one_headline_an_id"),
            models.UniqueConstraint(fields=["stock", "url"], condition=~Q(url=""), name="one_headline_an_address"),
        ]

    def __str__(self) -> str:
        return f"{self.stock} {self.published_at:%Y-%m-%d} {self.title}"


class LlmDay(models.Model):
    """LLM usage of one day (UTC) by all processes, including the tokens reserved for open questions."""

    day = models.DateField(primary_key=True)
    tokens = models.PositiveBigIntegerField(default=0)
    cost = models.FloatField(default=0.0, help_text="Cost of the tokens, if their prices are configured.")
    questions = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["-day"]
        verbose_name = "LLM usage of a day"
        verbose_name_plural = "LLM usage by day"

    def __str__(self) -> str:
        return f"{self.day} {self.tokens}"


class SourceState(models.Model):
    """The state of a source, shared by all processes. Its row also serves as the lock for counting requests."""

    source = models.CharField(max_length=40, primary_key=True)
    cooldown_until = models.DateTimeField(
        null=True, blank=True, help_text="End of the pause; no request is sent before."
    )
    refusals = models.PositiveIntegerField(default=0, help_text="Number of pauses since the last answer.")

    class Meta:
        ordering = ["source"]
        verbose_name = "source of market data"
        verbose_name_plural = "sources of market data"

    def __str__(self) -> str:
        return self.source


class SourceUse(models.Model):
    """Requests granted to a process at once, which count against the rate limit for a minute."""

    source = models.CharField(max_length=40)
    granted_at = models.DateTimeField()
    requests = models.PositiveIntegerField()

    class Meta:
        ordering = ["source", "granted_at"]
        indexes = [models.Index(fields=["source", "granted_at"], name="use_of_a_source")]

    def __str__(self) -> str:
        return f"{self.source} {self.granted_at:%H:%M:%S} {self.requests}"


class TradingSession(models.Model):
    """When an exchange trades, from opening to close (a break at noon included)."""

    calendar = models.CharField(max_length=10, help_text="Calendar of exchange_calendars, such as XNYS or 24/5.")
    opens_at = models.DateTimeField()
    closes_at = models.DateTimeField()

    class Meta:
        ordering = ["calendar", "opens_at"]
        constraints = [models.UniqueConstraint(fields=["calendar", "opens_at"], name="one_session_an_opening")]

    def __str__(self) -> str:
        return f"{self.calendar} {self.opens_at:%Y-%m-%d}"

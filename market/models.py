from django.db import models
from django.db.models import Q

from market.symbols import SymbolField


class StockManager(models.Manager["Stock"]):
    def get_by_natural_key(self, symbol: str) -> "Stock":
        return self.get(symbol=symbol)


class Stock(models.Model):
    """An instrument, known by its symbol. `checked_at` is when a source last answered for it.

    One that no source has known on three days is parked, as `unknown` or (where there are bars of it) `delisted`:
    logins and schedules do not ask for it any more. A fetch by hand that finds something makes it `active` again.
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
        default=0, editable=False, help_text="Days on which no source knew it, since one last did."
    )
    missed_on = models.DateField(null=True, blank=True, editable=False, help_text="The last of these days.")
    source = models.CharField(max_length=40, blank=True, help_text="Which source last had bars for it.")
    history_starts = models.DateField(
        null=True, blank=True, editable=False, help_text="A source was asked for earlier days and had none."
    )
    is_outdated = models.BooleanField(
        default=False, editable=False, help_text="A source has adjusted older bars since they were stored."
    )
    volatility = models.FloatField(
        null=True, blank=True, editable=False, help_text="Of the last 20 daily returns, for a year: 0.35 is 35 %."
    )

    objects = StockManager()

    class Meta:
        ordering = ["symbol"]

    def __str__(self) -> str:
        return self.symbol

    def natural_key(self) -> tuple[str]:
        return (self.symbol,)


# Far beyond any price; NaN and infinity fail a comparison with it in every database.
_ABSURD_PRICE = 1e15


class PriceBar(models.Model):
    """One day of one stock, in the stock's currency. Prices are doubles, as the sources send them."""

    stock = models.ForeignKey(Stock, on_delete=models.CASCADE, related_name="bars")
    date = models.DateField(help_text="The exchange's calendar day.")
    open = models.FloatField(null=True, blank=True)
    high = models.FloatField(null=True, blank=True)
    low = models.FloatField(null=True, blank=True)
    close = models.FloatField()
    adj_close = models.FloatField(null=True, blank=True)
    volume = models.BigIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["stock", "-date"]
        constraints = [
            models.UniqueConstraint(fields=["stock", "date"], name="one_bar_a_day"),
            models.CheckConstraint(
                condition=Q(close__gt=-_ABSURD_PRICE, close__lt=_ABSURD_PRICE), name="close_is_a_number"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.stock} {self.date}"


class SourceState(models.Model):
    """What all processes know of a source of market data. Its row is also the lock for counting requests."""

    source = models.CharField(max_length=40, primary_key=True)
    cooldown_until = models.DateTimeField(null=True, blank=True, help_text="Nothing is asked for before.")
    refusals = models.PositiveIntegerField(default=0, help_text="Pauses since it last answered.")

    class Meta:
        ordering = ["source"]
        verbose_name = "source of market data"
        verbose_name_plural = "sources of market data"

    def __str__(self) -> str:
        return self.source


class SourceUse(models.Model):
    """Requests that a process was granted together, for a minute."""

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

    calendar = models.CharField(max_length=10, help_text="As in exchange_calendars: XNYS, 24/5.")
    opens_at = models.DateTimeField()
    closes_at = models.DateTimeField()

    class Meta:
        ordering = ["calendar", "opens_at"]
        constraints = [models.UniqueConstraint(fields=["calendar", "opens_at"], name="one_session_an_opening")]

    def __str__(self) -> str:
        return f"{self.calendar} {self.opens_at:%Y-%m-%d}"

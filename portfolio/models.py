from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from market.models import Analysis, Stock, StockSplit
from market.symbols import SymbolField
from portfolio.price_alerts.models import PriceAlert, PriceAlertNotice

__all__ = [
    "AssignedColumns",
    "AssignedSymbol",
    "Holding",
    "Login",
    "LoginDay",
    "OutgoingMail",
    "Portfolio",
    "PortfolioPriority",
    "Preferences",
    "PriceAlert",
    "PriceAlertNotice",
]


class PortfolioManager(models.Manager["Portfolio"]):
    def get_by_natural_key(self, username: str, name: str) -> "Portfolio":
        return self.get(user__username=username, name=name)


class Portfolio(models.Model):
    """A user's named collection of holdings. Only `portfolio.factors.value_portfolios` writes the value."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="portfolios")
    name = models.CharField(max_length=100)
    value = models.FloatField(
        null=True, blank=True, editable=False, help_text="Value at the last closes; currencies are not converted."
    )
    value_percentile = models.FloatField(
        null=True, blank=True, editable=False, help_text="Share of the other portfolios that are worth less."
    )

    objects = PortfolioManager()

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="one_portfolio_a_name")]

    def __str__(self) -> str:
        return self.name

    def natural_key(self) -> tuple[str, str]:
        return (self.user.username, self.name)


class HoldingManager(models.Manager["Holding"]):
    def get_by_natural_key(self, username: str, name: str, symbol: str) -> "Holding":
        return self.get(portfolio__user__username=username, portfolio__name=name, stock__symbol=symbol)


class Holding(models.Model):
    """Shares of a stock. `buy_price` is the price of a share in the stock's currency; None means unknown.

    `as_of` is the time that both numbers refer to: the last change by a person, or the last split that they were
    adjusted to. Only later splits adjust them.
    """

    portfolio = models.ForeignKey(Portfolio, on_delete=models.CASCADE, related_name="holdings")
    stock = models.ForeignKey(Stock, on_delete=models.PROTECT, related_name="holdings")
    shares = models.DecimalField(
        max_digits=22, decimal_places=8, validators=[MinValueValidator(Decimal("0.00000001"))]
    )
    buy_price = models.DecimalField(
        max_digits=22,
        decimal_places=8,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(0))],
        help_text="Price paid for one share, in the stock's currency; empty if unknown.",
    )
    as_of = models.DateTimeField(default=timezone.now, db_default=Now(), editable=False)

    objects = HoldingManager()

    class Meta:
        ordering = ["portfolio", "stock"]
        constraints = [
            models.UniqueConstraint(fields=["portfolio", "stock"], name="one_holding_a_stock"),
            models.CheckConstraint(condition=Q(shares__gt=0), name="shares_above_zero"),
            models.CheckConstraint(condition=Q(buy_price__gte=0), name="buy_price_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.shares.normalize():f} {self.stock}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the holding. Changed numbers refer to the present."""
        if self.pk is not None:
            same = Holding.objects.filter(pk=self.pk, shares=self.shares, buy_price=self.buy_price)
            self.as_of = self.as_of if same.exists() else timezone.now()
        super().save(*args, **kwargs)

    def natural_key(self) -> tuple[str, str, str]:
        return (*self.portfolio.natural_key(), self.stock.symbol)


class HoldingSplit(models.Model):
    """The effect of a split on a holding, with the holding's numbers before and after. Its owner sees a note of it.

    A split is applied to a holding at most once: after the owner's undo, it is not applied again.
    """

    class State(models.TextChoices):
        ADJUSTED = "adjusted"
        """The holding was adjusted."""
        UNDONE = "undone"
        """The owner has restored the numbers before."""
        SAME_DAY = "same day"
        """Left as it was: entered on the day of the split, before the split was known."""
        UNFIT = "unfit"
        """Left as it was: the adjusted numbers would be too small or too large."""
        WITHDRAWN = "withdrawn"
        """The source has withdrawn the split, and the numbers before are restored."""
        EDITED = "edited"
        """The source has withdrawn the split, and the holding is left as it was, because it has changed since."""

    holding = models.ForeignKey(Holding, on_delete=models.CASCADE, related_name="splits", db_index=False)
    split = models.ForeignKey(StockSplit, on_delete=models.CASCADE, related_name="holdings")
    state = models.CharField(max_length=9, choices=State)
    shares_before = models.DecimalField(max_digits=22, decimal_places=8)
    price_before = models.DecimalField(max_digits=22, decimal_places=8, null=True)
    as_of_before = models.DateTimeField()
    shares_after = models.DecimalField(max_digits=22, decimal_places=8)
    price_after = models.DecimalField(max_digits=22, decimal_places=8, null=True)
    is_dismissed = models.BooleanField(default=False)

    class Meta:
        default_permissions = ()
        ordering = ["-split__date", "-id"]
        constraints = [models.UniqueConstraint(fields=["holding", "split"], name="one_effect_a_split")]

    def __str__(self) -> str:
        return f"{self.holding} {self.split.ratio} {self.split.date}: {self.state}"


DEFAULT_BENCHMARK = "^GSPC"


class Preferences(models.Model):
    """A user's choices for the owner's pages. A user without a row has the defaults.

    `base_currency`: totals are shown in it; empty: `portfolio.base_currency`. `benchmark`: the symbol of the index
    that the value of a portfolio is compared with.
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="preferences")
    base_currency = models.CharField(max_length=3, blank=True)
    time_zone = models.CharField(max_length=60, default="UTC")
    benchmark = SymbolField(default=DEFAULT_BENCHMARK)
    mails_alerts = models.BooleanField(default=True)

    class Meta:
        default_permissions = ()
        verbose_name_plural = "preferences"

    def __str__(self) -> str:
        return f"Preferences of {self.user}"

    @classmethod
    def of(cls, user: User) -> "Preferences":
        """The user's preferences; the defaults, not stored, if the user has none."""
        found: Preferences | None = getattr(user, "preferences", None)
        return found or cls(user=user)

    @property
    def currency(self) -> str:
        """The currency of totals."""
        configured: str = settings.JOB_PROCESSOR.portfolio.base_currency
        return self.base_currency or configured


class SignUp(models.Model):
    """A sign-up whose address is not confirmed yet. Its user is inactive, and is deleted if nobody confirms."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="sign_up")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"Sign-up of {self.user}"


class Attempt(models.Model):
    """A request that `portfolio.accounts.throttle` counts. `digest`: of the limit and its key."""

    digest = models.CharField(max_length=64)
    at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["digest", "at"], name="attempts_of_a_limit")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S}"


class AssignedSymbol(models.Model):
    """The symbol that a user has given for an ISIN, another number or a name in a file, for later files."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="assigned_symbols")
    number = models.CharField(max_length=200)
    symbol = SymbolField()

    class Meta:
        default_permissions = ()
        ordering = ["user", "number"]
        constraints = [models.UniqueConstraint(fields=["user", "number"], name="one_symbol_a_number")]

    def __str__(self) -> str:
        return f"{self.user} {self.number} {self.symbol}"


class AssignedColumns(models.Model):
    """The meaning that a user has given to the columns of a file, for later files with the same header.

    `names`: the cells of the header. `columns`: the place of each column, by its name in `files.columns.Column`.
    `digest`: of the names.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="assigned_columns")
    digest = models.CharField(max_length=64)
    names = models.JSONField()
    columns = models.JSONField()

    class Meta:
        default_permissions = ()
        ordering = ["user", "digest"]
        constraints = [models.UniqueConstraint(fields=["user", "digest"], name="one_meaning_a_header")]

    def __str__(self) -> str:
        return f"{self.user} {', '.join(self.names)}"


FIRST_SCORE = 100


class PortfolioPriority(models.Model):
    """A user's interest in a stock: 100 at first, and `portfolio_priority_boost` more with every later login.

    Of the user's holdings of the same size, the holding with the higher score is fetched first. The predecessor's
    table `user_portfolio_priority`. A row for a stock no longer held is inactive.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="portfolio_priorities")
    stock = models.ForeignKey(Stock, on_delete=models.CASCADE, related_name="portfolio_priorities")
    priority_score = models.PositiveIntegerField(default=FIRST_SCORE)
    is_active = models.BooleanField(default=True)

    freshness: str = ""
    """The state of the stock's data, from `market.freshness.STATES`; set by `portfolio.tracking`."""
    last_analysis: Analysis | None = None
    """The newest analysis of the stock; set by `portfolio.tracking`."""

    class Meta:
        db_table = "user_portfolio_priority"
        ordering = ["user", "-priority_score"]
        verbose_name_plural = "portfolio priorities"
        constraints = [models.UniqueConstraint(fields=["user", "stock"], name="one_priority_a_stock")]
        # Read from its end: the highest scores first.
        indexes = [models.Index(fields=["priority_score", "id"], name="priority_by_score")]

    def __str__(self) -> str:
        return f"{self.user} {self.stock} {self.priority_score}"


class Login(models.Model):
    """A login of somebody with holdings, without the user. Parked stocks do not count, because nobody fetches them."""

    at = models.DateTimeField(db_index=True)
    stocks = models.PositiveIntegerField(help_text="Number of held stocks.")
    stale = models.PositiveIntegerField(help_text="Number of held stocks that were stale or never checked.")

    class Meta:
        default_permissions = ()
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.stale} of {self.stocks} stale"


class LoginDay(models.Model):
    """A day (UTC) with a login of a user. Kept while the day counts for the user's activity."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="login_days")
    date = models.DateField(db_index=True)

    class Meta:
        ordering = ["user", "-date"]
        constraints = [models.UniqueConstraint(fields=["user", "date"], name="one_row_a_login_day")]

    def __str__(self) -> str:
        return f"{self.user} {self.date}"


class OutgoingMail(models.Model):
    """A mail to a user that is not sent yet. `portfolio.mails` deletes it when it is sent or given up.

    A text has its `subject` and `body`. Another letter is written when it is sent, with links to `site`, for `user` or
    else for the accounts with the address `to`. `attempts`: attempts begun so far. `next_at`: the next attempt's time.
    """

    class Letter(models.TextChoices):
        TEXT = "text"
        PASSWORD_RESET = "password_reset"  # noqa: S105  (a name)
        SIGN_UP = "sign_up"
        ADDRESS = "address"

    to = models.EmailField()
    letter = models.CharField(max_length=20, choices=Letter, default=Letter.TEXT)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="+")
    site = models.TextField(blank=True)
    subject = models.CharField(max_length=200)
    body = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        default_permissions = ()
        ordering = ["next_at"]

    def __str__(self) -> str:
        return f"mail {self.pk}"

"""The admin's list of portfolio priorities: who cares about which stock, and whether it is looked after."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from market.models import Analysis, Stock
from portfolio.models import PortfolioPriority

pytestmark = pytest.mark.django_db

LIST = "/admin/portfolio/portfoliopriority/"


@pytest.fixture
def track(user) -> Callable[..., PortfolioPriority]:
    """track("AAPL", 120): the user cares so much about it; of=... somebody else does."""

    def track(symbol: str, score: int = 100, *, of: Any = None, is_active: bool = True, **stock: Any):
        found, _ = Stock.objects.update_or_create(symbol=symbol, defaults=stock)
        return PortfolioPriority.objects.create(
            user=of or user, stock=found, priority_score=score, is_active=is_active
        )

    return track


@pytest.fixture
def rows(admin_client) -> Callable[..., list[PortfolioPriority]]:
    """rows(q="AAPL"): what the list shows then, in its order."""

    def rows(**address: Any) -> list[PortfolioPriority]:
        answer = admin_client.get(LIST, address)
        assert answer.status_code == 200
        return list(answer.context["cl"].result_list)

    return rows


def symbols(rows: list[PortfolioPriority]) -> list[str]:
    return [row.stock.symbol for row in rows]


def ago(**time: float) -> Any:
    return timezone.now() - timedelta(**time)


def test_the_highest_score_comes_first(track, rows):
    for symbol, score in (("LOW", 100), ("HIGH", 300), ("MIDDLE", 200)):
        track(symbol, score)
    assert symbols(rows()) == ["HIGH", "MIDDLE", "LOW"]


def test_a_row_tells_when_its_stock_was_fetched_and_analysed_and_how_its_data_is(track, admin_client, user):
    checked, analysed = datetime(2026, 3, 9, 14, 5, tzinfo=UTC), ago(hours=1)
    row = track("AAPL", 140, checked_at=checked)
    Analysis.objects.create(stock=row.stock, kind="technical", version="1", created_at=analysed)
    Analysis.objects.create(stock=row.stock, kind="sentiment", version="1", created_at=ago(hours=9))
    shown = admin_client.get(LIST).content.decode()
    for text in (
        "AAPL",
        user.username,
        "140",
        "stale",
        "2026-03-09 14:05",
        f"{analysed:%Y-%m-%d %H:%M} (technical)",
    ):
        assert text in shown


def test_data_is_fresh_stale_never_fetched_or_parked_and_can_be_filtered_by_that(track, rows):
    track("FRESH", checked_at=ago(minutes=1))
    track("STALE", checked_at=ago(hours=7))
    track("NEVER")
    track("PARKED", checked_at=ago(hours=7), status=Stock.Status.UNKNOWN)
    assert {row.stock.symbol.lower(): row.freshness for row in rows()} == {
        state: state for state in ("fresh", "stale", "never", "parked")
    }
    for state in ("fresh", "stale", "never", "parked"):
        assert symbols(rows(data=state)) == [state.upper()]
    assert rows(data="nonsense") == []


def test_what_was_sold_can_be_left_out(track, rows):
    track("HELD")
    track("SOLD", is_active=False)
    assert symbols(rows(is_active__exact=1)) == ["HELD"]
    assert symbols(rows(is_active__exact=0)) == ["SOLD"]


def test_a_search_finds_a_user_or_a_symbol_by_their_whole_names(track, rows, user, django_user_model):
    other = django_user_model.objects.create_user("someone.else")
    track("AAPL", 300)
    track("BRK-B", 200)
    track("AAPL", 100, of=other)
    assert [(row.stock.symbol, row.user) for row in rows(q="aapl")] == [("AAPL", user), ("AAPL", other)]
    assert symbols(rows(q="BRK.B")) == ["BRK-B"]
    assert symbols(rows(q=user.username)) == ["AAPL", "BRK-B"]
    assert [(row.stock.symbol, row.user) for row in rows(q="someone.else AAPL")] == [("AAPL", other)]


@pytest.mark.parametrize("text", ["AAP", "nobody", "größe", "%", "_", "' OR 1=1 --", "A" * 500, "*", "^", "AAPL MSFT"])
def test_a_search_for_what_is_not_there_finds_nothing(track, rows, text):
    track("AAPL")
    assert rows(q=text) == []


def test_the_number_of_queries_does_not_depend_on_the_number_of_rows(track, admin_client, django_user_model):
    def ask_with(count: int) -> int:
        for number in range(count):
            other = django_user_model.objects.create_user(f"u{PortfolioPriority.objects.count()}")
            row = track(f"S{count}-{number}", of=other, checked_at=ago(hours=1 + number), exchange="NMS")
            Analysis.objects.create(stock=row.stock, kind="technical", version="1")
        with CaptureQueriesContext(connection) as queries:
            assert admin_client.get(LIST, {"data": "stale", "q": "S1-0"}).status_code == 200
            assert admin_client.get(LIST).status_code == 200
        return len(queries)

    assert ask_with(1) == ask_with(60)


def test_nobody_sees_it_without_the_permission(client, track, django_user_model):
    staff = django_user_model.objects.create_user("staff", is_staff=True)
    client.force_login(staff)
    assert client.get(LIST).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_portfoliopriority"))
    assert client.get(LIST).status_code == 200

"""What people decide about a bar holds over later fetches, and is kept in the log."""

from collections.abc import Sequence
from dataclasses import astuple, replace

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone

from market.models import BarDecision, PriceBar, Stock
from market.prices.decisions import decide, revoke
from market.prices.store import store_history
from market.sources.base import Bar, History
from tests.support.prices import stored_days
from tests.support.standins.yahoo import daily_bars
from tests.support.standins.yahoo_chart import Bar as ServedBar

pytestmark = pytest.mark.django_db

Kind = BarDecision.Kind


def store(bars: Sequence[ServedBar], *, replacing: bool = False) -> Stock:
    answer = History("AAPL", "yahoo_finance", [Bar(*astuple(bar)) for bar in bars], exchange="CCC")
    asked_from = bars[0].date if replacing else None
    store_history(answer, timezone.now(), asked_from=asked_from, replace=replacing)
    return Stock.objects.get()


@pytest.fixture
def bars() -> list[ServedBar]:
    """A history whose bar before the last is ten times too high."""
    *before, odd, newest = daily_bars("AAPL", 40)
    return [*before, replace(odd, close=odd.close * 10), newest]


@pytest.fixture
def odd(bars: list[ServedBar]) -> PriceBar:
    Stock.objects.create(symbol="AAPL")
    store(bars)
    return PriceBar.objects.get(is_suspicious=True)


@pytest.mark.parametrize("replacing", [False, True])
def test_an_accepted_bar_is_not_suspicious_any_more(odd, bars, replacing):
    decide(odd, Kind.ACCEPTED, "operator")
    store([*bars[:-1], replace(bars[-1], close=bars[-1].close + 0.01)], replacing=replacing)
    assert not PriceBar.objects.filter(is_suspicious=True).exists()
    assert PriceBar.objects.get(pk=odd.pk).close == odd.close


@pytest.mark.parametrize("replacing", [False, True])
def test_a_corrected_bar_stays_as_it_was_corrected(odd, bars, replacing):
    decide(odd, Kind.LOCKED, "operator", {"close": 123.25})
    store(bars, replacing=replacing)
    kept = PriceBar.objects.get(pk=odd.pk)
    assert (kept.close, kept.is_suspicious) == (123.25, False)
    assert PriceBar.objects.count() == 40


@pytest.mark.parametrize("replacing", [False, True])
def test_a_deleted_bar_does_not_come_back_until_the_decision_is_revoked(odd, bars, replacing):
    decision = decide(odd, Kind.DELETED, "operator")
    stock = store(bars, replacing=replacing)
    assert odd.date not in stored_days(stock)
    revoke(decision, "operator")
    assert odd.date in stored_days(store(bars, replacing=replacing))


def test_a_locked_bar_hides_no_split(odd, bars):
    first = PriceBar.objects.earliest("date")
    decide(first, Kind.LOCKED, "operator")
    split = [replace(bar, close=bar.close / 2, adj_close=bar.adj_close / 2) for bar in bars]
    answer = History("AAPL", "yahoo_finance", [Bar(*astuple(bar)) for bar in split[10:]], exchange="CCC")
    assert store_history(answer, timezone.now()).outdated_from == first.date


def test_an_answer_of_decided_days_alone_changes_nothing(odd, bars):
    newest = PriceBar.objects.latest("date")
    decide(newest, Kind.LOCKED, "operator")
    answer = History("AAPL", "yahoo_finance", [Bar(*astuple(bars[-1]))._replace(close=1.0)], exchange="CCC")
    assert store_history(answer, timezone.now()).written == 0


def test_a_decision_keeps_the_values_before_and_makes_analyses_outdated(odd):
    changed_at = Stock.objects.get().bars_changed_at
    decide(odd, Kind.LOCKED, "operator", {"close": 100.0})
    decision = BarDecision.objects.get()
    assert (decision.kind, decision.decided_by, decision.before["close"]) == ("locked", "operator", odd.close)
    assert Stock.objects.get().bars_changed_at != changed_at


# In the admin


@pytest.fixture
def operator(client) -> User:
    user = User.objects.create_user("operator", is_staff=True)
    names = ("view_pricebar", "decide_bar", "view_bardecision")
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(user)
    return user


LIST = reverse("admin:market_pricebar_changelist")


def test_an_operator_finds_suspicious_bars(odd, operator, client):
    page = client.get(LIST, {"is_suspicious__exact": 1}).content.decode()
    assert odd.date.strftime("%Y") in page
    assert page.count('name="_selected_action"') == 1


@pytest.mark.parametrize(
    ("action", "kind"), [("accept", "accepted"), ("lock", "locked"), ("delete_for_good", "deleted")]
)
def test_an_operator_decides_about_selected_bars(odd, operator, client, action, kind):
    answer = client.post(LIST, {"action": action, "_selected_action": [odd.pk]}, follow=True)
    assert f"{kind.title()}: AAPL on {odd.date}." in answer.content.decode()
    assert BarDecision.objects.get().kind == kind
    assert LogEntry.objects.get().change_message == f"{kind.title()}."


def test_an_operator_corrects_a_bar(odd, operator, client):
    address = reverse("admin:market_pricebar_change", args=[odd.pk])
    values = {name: getattr(odd, name) for name in ("open", "high", "low", "adj_close", "volume")}
    client.post(address, values | {"close": "101.5"})
    assert PriceBar.objects.get(pk=odd.pk).close == 101.5
    assert BarDecision.objects.get().kind == "locked"


def test_an_operator_revokes_a_decision(odd, operator, client):
    decision = decide(odd, Kind.DELETED, "operator")
    address = reverse("admin:market_bardecision_changelist")
    answer = client.post(address, {"action": "revoke", "_selected_action": [decision.pk]}, follow=True)
    assert f"Revoked: AAPL on {odd.date}." in answer.content.decode()
    assert not BarDecision.objects.exists()


def test_who_may_only_look_cannot_decide(odd, operator, client):
    operator.user_permissions.remove(Permission.objects.get(codename="decide_bar"))
    client.post(LIST, {"action": "accept", "_selected_action": [odd.pk]})
    assert client.post(reverse("admin:market_pricebar_change", args=[odd.pk]), {"close": "1"}).status_code == 403
    assert not BarDecision.objects.exists()

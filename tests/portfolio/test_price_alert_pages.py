"""The owner's pages of price alerts, their notices, and the mails about them."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from market.models import Stock
from portfolio.models import OutgoingMail, Preferences, PriceAlert, PriceAlertNotice
from portfolio.price_alerts.mails import mail_notices
from portfolio.price_alerts.notices import KEPT, UNSEEN_SHOWN
from portfolio.price_alerts.setting import set_alert
from tasks.upkeep.retention import clean_up, cutoff
from tests.support.prices import store_closes

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture
def owner(user, hold, client) -> Client:
    """A client of the user, who holds AAPL at $100."""
    store_closes("AAPL", 100, 100)
    hold(user, "AAPL")
    client.force_login(user)
    return client


@pytest.fixture
def alert(owner, user) -> PriceAlert:
    return set_alert(user, Stock.objects.get(), "above", Decimal(110))


@pytest.fixture
def notice(alert) -> PriceAlertNotice:
    """The alert is raised."""
    store_closes("AAPL", 100, 112)
    return PriceAlertNotice.objects.get()


def text(owner: Client, address: str) -> str:
    return owner.get(address).content.decode()


def set_on_page(owner: Client, kind: str, threshold: str, symbol: str = "AAPL") -> str:
    fields = {"kind": kind, "threshold": threshold}
    return owner.post(f"/stocks/{symbol}/alerts/new/", fields, follow=True).content.decode()


def test_an_owner_sets_alerts_on_the_page_of_a_stock(owner):
    page = text(owner, "/stocks/AAPL/")
    assert "You have no alert on this stock." in page
    assert "A price in USD, or a change in percent." in page
    assert "Alert set on AAPL: price at or above $110.50." in set_on_page(owner, "above", "110.50")
    page = set_on_page(owner, "moved", "5")
    assert "Alert set on AAPL: change in a day of at least 5 %." in page
    assert page.count("armed") == 2
    assert PriceAlert.objects.count() == 2
    assert 'href="/stocks/AAPL/"' in text(owner, "/alerts/")


@pytest.mark.parametrize(
    ("kind", "threshold", "problem"),
    [
        ("above", "90", "AAPL is at $100.00 already"),
        ("above", "", "This field is required."),
        ("above", "abc", "Write a number such as 123.45."),
        ("above", "NaN", "Write a number such as 123.45."),
        ("above", "1e400", "Ensure that there are no more than"),
        ("above", "9" * 100_000, "Ensure that there are no more than"),
        ("moved", "2000", "A change in a day is from 0.1 to 1000 %"),
        ("sideways", "5", "Select a valid choice"),
    ],
)
def test_a_refused_alert_says_why_and_loses_nothing(owner, kind, threshold, problem):
    page = set_on_page(owner, kind, threshold)
    assert problem in page
    assert f'value="{threshold[:20]}' in page if threshold else True
    assert not PriceAlert.objects.exists()


def test_the_same_alert_again_is_told(owner, alert):
    assert "You have this alert on AAPL already: price at or above $110.00." in set_on_page(owner, "above", "110")


def test_amounts_have_the_decimals_of_the_threshold(owner, user, hold):
    store_closes("EURUSD=X", 1.08, 1.08)
    set_alert(user, Stock.objects.get(symbol="EURUSD=X"), "above", Decimal("1.0852"))
    store_closes("EURUSD=X", 1.08, 1.0861)
    page = text(owner, "/")
    assert "EURUSD=X is at $1.0861 (+0.56 %): price at or above $1.0852." in page
    assert "armed again at or below $1.0743" in text(owner, "/alerts/")


def test_an_owner_deletes_an_alert_after_a_confirmation_and_its_notices_stay(owner, alert, notice):
    address = f"/alerts/{alert.pk}/delete/"
    assert "Delete the alert on AAPL?" in text(owner, address)
    assert PriceAlert.objects.exists()
    page = owner.post(address, follow=True).content.decode()
    assert "Deleted the alert on AAPL: price at or above $110.00." in page
    assert not PriceAlert.objects.exists()
    assert "$112.00" in page


def test_a_raised_alert_is_shown_until_it_is_dismissed(owner, notice):
    page = text(owner, "/")
    assert "AAPL is at $112.00 (+12.00 %): price at or above $110.00." in page
    assert '1<span class="hidden"> new</span>' in page
    assert "armed again at or below $108.90" in text(owner, "/alerts/")
    page = owner.post(f"/alerts/notices/{notice.pk}/dismiss/", follow=True).content.decode()
    assert "AAPL is at $112.00" not in page
    assert "new</span>" not in page
    assert "dismissed" in text(owner, "/alerts/")


def test_all_notices_are_dismissed_except_later_ones(owner, user, notice):
    later = PriceAlertNotice.objects.get(pk=notice.pk)
    later.pk, later.event_id = None, "5f3a5a0e-6c0b-4b1e-9f39-2f1f6d9f2f11"
    later.save()
    page = owner.post("/alerts/notices/dismiss/", {"newest": notice.pk, "page": "alerts"}, follow=True)
    assert page.request["PATH_INFO"] == "/alerts/"
    assert PriceAlertNotice.objects.get(seen_at=None) == later
    for nonsense in ("", "x", "9" * 5_000, "٣", "-1"):
        owner.post("/alerts/notices/dismiss/", {"newest": nonsense})
    assert PriceAlertNotice.objects.get(seen_at=None) == later


def test_many_notices_are_counted_up_to_a_limit(owner, notice):
    copies = [
        PriceAlertNotice(
            user=notice.user, stock=notice.stock, kind="moved", threshold=5, price=1, session=notice.session
        )
        for _ in range(UNSEEN_SHOWN + 5)
    ]
    PriceAlertNotice.objects.bulk_create(copies)
    page = text(owner, "/")
    assert "50+<span" in page
    assert page.count("Dismiss</button>") == 5
    assert "All notices" in page


def test_pages_take_the_same_number_of_queries_for_1_and_20_alerts(owner, user, notice):
    def queries(address: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert owner.get(address).status_code == 200
        return len(queries)

    few = [queries(address) for address in ("/", "/alerts/", "/stocks/AAPL/")]
    for number in range(20):
        set_alert(user, Stock.objects.get(), "above", Decimal(200 + number))
        PriceAlertNotice.objects.create(
            user=user, stock=notice.stock, kind="below", threshold=5, price=1, session=notice.session
        )
    assert [queries(address) for address in ("/", "/alerts/", "/stocks/AAPL/")] == few
    assert few[1] == 6  # session, user, alerts, notices, the unseen notices of the header, the time zone


def test_an_empty_page_says_where_alerts_are_set(client, user):
    client.force_login(user)
    page = text(client, "/alerts/")
    assert "The page of each of your stocks has a form for them." in page
    assert "No alert was raised yet." in page
    assert "Your account has no mail address" in page


def test_the_page_of_a_sold_stock_stays_while_an_alert_is_on_it(owner, user, alert):
    user.portfolios.all().delete()
    assert owner.get("/stocks/AAPL/").status_code == 200
    owner.post(f"/alerts/{alert.pk}/delete/")
    assert owner.get("/stocks/AAPL/").status_code == 404
    assert owner.post("/stocks/AAPL/alerts/new/", {"kind": "above", "threshold": "200"}).status_code == 404


def test_what_belongs_to_somebody_else_is_not_found(alert, notice, django_user_model):
    other = Client()
    other.force_login(django_user_model.objects.create_user("other"))
    assert "AAPL" not in text(other, "/alerts/")
    assert "AAPL" not in text(other, "/")
    for address in (
        f"/alerts/{alert.pk}/delete/",
        f"/alerts/notices/{notice.pk}/dismiss/",
        "/stocks/AAPL/alerts/new/",
    ):
        assert other.post(address, {"kind": "above", "threshold": "200"}).status_code == 404
    other.post("/alerts/notices/dismiss/", {"newest": notice.pk})
    notice.refresh_from_db()
    assert notice.seen_at is None
    assert PriceAlert.objects.count() == 1


def test_changes_need_a_login_a_post_and_a_csrf_token(user, alert, notice):
    checked = Client(enforce_csrf_checks=True)
    checked.force_login(user)
    for address in ("/alerts/notices/dismiss/", f"/alerts/notices/{notice.pk}/dismiss/"):
        assert checked.get(address).status_code == 405
    for address in ("/alerts/notices/dismiss/", f"/alerts/{alert.pk}/delete/", "/stocks/AAPL/alerts/new/"):
        assert checked.post(address).status_code == 403
        assert Client().post(address)["Location"].startswith("/accounts/login/")
    assert Client().get("/alerts/")["Location"].startswith("/accounts/login/")


# Mails


def test_alerts_raised_together_make_one_mail(owner, user, alert):
    user.email = "owner@example.com"
    user.save()
    set_alert(user, Stock.objects.get(), "moved", Decimal(5))
    store_closes("MSFT", 50, 50)
    set_alert(user, Stock.objects.get(symbol="MSFT"), "below", Decimal(45))
    store_closes("AAPL", 100, 112)
    store_closes("MSFT", 50, 44)
    assert mail_notices() == 1
    assert mail_notices() == 0
    mail = OutgoingMail.objects.get()
    assert (mail.to, mail.subject) == ("owner@example.com", "stockqueue: price alerts for AAPL, MSFT")
    assert "AAPL is at $112.00 (+12.00 %): price at or above $110.00. (20" in mail.body
    assert "MSFT is at $44.00 (-12.00 %): price at or below $45.00." in mail.body
    assert PriceAlertNotice.objects.filter(mailed_at=None).count() == 0
    assert user.username not in mail.body


def test_mails_to_several_users_take_one_message_to_a_worker(notice, user, django_capture_on_commit_callbacks):
    others = [User.objects.create_user(f"other{number}", f"{number}@example.com") for number in range(3)]
    for other in others:
        PriceAlertNotice.objects.create(
            user=other, stock=notice.stock, kind="below", threshold=5, price=1, session=notice.session
        )
    with django_capture_on_commit_callbacks() as calls:
        assert mail_notices() == 3 + bool(user.email)
    assert len(calls) == 1
    assert set(OutgoingMail.objects.values_list("to", flat=True)) >= {other.email for other in others}


@pytest.mark.parametrize("why", ["no address", "inactive", "not wanted"])
def test_who_takes_no_mails_gets_none_then_or_later(user, notice, why):
    user.email = "" if why == "no address" else "owner@example.com"
    user.is_active = why != "inactive"
    user.save()
    Preferences.objects.create(user=user, mails_alerts=why != "not wanted")
    assert mail_notices() == 0
    Preferences.objects.update(mails_alerts=True)
    user.email, user.is_active = "owner@example.com", True
    user.save()
    assert mail_notices() == 0
    assert not OutgoingMail.objects.exists()


def test_without_news_a_mail_run_takes_one_query(db, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert mail_notices() == 0


# Operators


@pytest.mark.parametrize("name", ["pricealert", "pricealertnotice"])
def test_operators_read_alerts_and_notices(admin_client, notice, name):
    address = reverse(f"admin:portfolio_{name}_changelist")
    assert "AAPL" in admin_client.get(address, {"q": "AAPL"}).content.decode()
    assert admin_client.get(address, {"q": notice.user.username}).status_code == 200
    assert admin_client.get(reverse(f"admin:portfolio_{name}_add")).status_code == 403


def test_old_notices_are_deleted(notice):
    assert clean_up(cutoff()).more["price_alert_notices"] == 0
    PriceAlertNotice.objects.update(at=timezone.now() - KEPT - DAY)
    assert clean_up(cutoff()).more["price_alert_notices"] == 1

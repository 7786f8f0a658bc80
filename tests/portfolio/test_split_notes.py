"""Owners see a note of each split of a stock that they hold, can undo it, and hear of corrections."""

from datetime import timedelta

import pytest
from django.test import Client

from market.models import Stock, StockSplit
from portfolio.models import HoldingSplit
from tasks.models import Job
from tests.support.splits import (
    DAY,
    MIDNIGHT,
    answer,
    follow,
    numbers,
    split,
    text_of,
    withdraw,
)

pytestmark = pytest.mark.django_db


# Notes


def test_the_owner_sees_a_note_on_both_pages(own, owner):
    own()
    split()
    for address in ("/", "/holdings/", "/stocks/AAPL/", "/stocks/AAPL/figures/"):
        told = text_of(owner, address)
        assert "AAPL split 4:1 on 2026-03-04. Your 10 shares at $400.00 in Main became 40 shares at $100.00." in told
        assert "Undo" in told


@pytest.mark.parametrize(
    ("currency", "price", "told"),
    [("GBp", "400", "£4.00"), ("SEK", "400", "400.00 SEK"), ("USD", None, "an unknown price")],
)
def test_prices_of_a_note_are_in_major_units(own, owner, currency, price, told):
    own(price=price)
    Stock.objects.update(currency=currency)
    split()
    assert f"Your 10 shares at {told} in Main" in text_of(owner)


def test_a_fraction_of_a_share_is_said_to_be_paid_in_cash_perhaps(own, owner):
    own()
    split(1, 30)
    assert "became 0.33333333 shares at $12,000.00. If your broker has paid cash in place of the fraction" in text_of(
        owner
    )


def test_a_dismissed_note_is_gone_and_the_numbers_stay(own, owner):
    own()
    split()
    assert "split 4:1" not in answer(owner, "dismiss")
    assert numbers() == ("40", "100")


def test_an_undo_restores_the_numbers_and_the_split_is_not_applied_again(own, owner):
    own()
    split()
    told = answer(owner, "undo")
    assert "Undone: you hold 10 AAPL again" in told
    assert "split 4:1 on" not in told
    assert numbers() == ("10", "400")
    StockSplit.objects.update(followed_at=None)
    follow()
    assert numbers() == ("10", "400")
    assert "Nothing to undo" in answer(owner, "undo")


def test_after_an_undo_a_corrected_ratio_is_not_applied_either(own, owner):
    own()
    told = split()
    answer(owner, "undo")
    withdraw(told)
    split(5)
    assert numbers() == ("10", "400")


def test_splits_are_undone_from_the_last_one_on(own, owner):
    own()
    split()
    split(2, 1, day=DAY + timedelta(days=1))
    first, second = HoldingSplit.objects.order_by("split__date")
    said = owner.post(f"/splits/{first.pk}/undo/", follow=True).content.decode()
    assert "by an edit, an import or a later split, and was left as it is" in said
    assert numbers() == ("80", "50")
    for effect in (second, first):
        owner.post(f"/splits/{effect.pk}/undo/")
    assert numbers() == ("10", "400")


def test_an_edited_holding_is_not_undone(own, owner):
    holding = own()
    split()
    owner.post(f"/holdings/{holding.pk}/", {"shares": "39", "buy_price": "100"})
    assert "AAPL has changed since the split" in answer(owner, "undo")
    assert numbers() == ("39", "100")


def test_an_edited_holding_of_the_splits_day_is_not_adjusted(own, owner):
    holding = own(entered=MIDNIGHT)
    split()
    owner.post(f"/holdings/{holding.pk}/", {"shares": "39", "buy_price": "100"})
    assert "AAPL cannot be adjusted any more" in answer(owner, "adjust")
    assert numbers() == ("39", "100")


@pytest.mark.parametrize("what", ["undo", "adjust", "dismiss"])
def test_notes_of_others_are_not_found(own, client, django_user_model, what):
    own()
    split()
    client.force_login(django_user_model.objects.create_superuser("other"))
    assert "split 4:1" not in client.get("/").content.decode()
    assert client.post(f"/splits/{HoldingSplit.objects.get().pk}/{what}/").status_code == 404
    assert numbers() == ("40", "100")
    assert not HoldingSplit.objects.get().is_dismissed


def test_an_answer_is_a_post_with_a_token_of_a_user(own, user, client):
    own()
    split()
    address = f"/splits/{HoldingSplit.objects.get().pk}/undo/"
    assert client.post(address).headers["Location"].startswith("/accounts/login/")
    client.force_login(user)
    assert client.get(address).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)
    assert strict.post(address).status_code == 403
    assert numbers() == ("40", "100")


def test_an_answer_leads_back_to_its_page_and_nowhere_else(own, owner):
    own()
    split()
    address = f"/splits/{HoldingSplit.objects.get().pk}/dismiss/"
    for back, page in (("", "/"), ("AAPL", "/stocks/AAPL/"), ("//evil.example", "/"), ("https://evil.example", "/")):
        assert owner.post(address, {"back": back}).headers["Location"] == page


def test_open_pages_learn_of_the_new_numbers_by_a_fetch(own):
    own()
    StockSplit.objects.create(stock=Stock.objects.get(), date=DAY, numerator=4, denominator=1)
    follow()
    assert Job.objects.get().symbol == "AAPL"


def test_a_split_of_a_stock_that_nobody_holds_requests_no_fetch():
    StockSplit.objects.create(stock=Stock.objects.create(symbol="FREE"), date=DAY, numerator=4, denominator=1)
    follow()
    assert StockSplit.objects.filter(followed_at__isnull=False).exists()
    assert not Job.objects.exists()


# Corrections


def test_a_withdrawn_split_is_taken_back_and_the_owner_is_told(own, owner):
    own()
    told = split()
    answer(owner, "dismiss")
    withdraw(told)
    assert numbers() == ("10", "400")
    said = text_of(owner)
    assert "The split 4:1 of AAPL on 2026-03-04 was withdrawn by the source of the prices." in said
    assert "You hold 10 shares at $400.00 in Main again." in said


def test_a_withdrawn_split_leaves_an_edited_holding_and_says_so(own, owner):
    holding = own()
    told = split()
    owner.post(f"/holdings/{holding.pk}/", {"shares": "39", "buy_price": "100"})
    withdraw(told)
    assert numbers() == ("39", "100")
    assert "has changed since the split and was left as it is. Check its shares and price." in text_of(owner)


def test_a_corrected_ratio_is_applied_to_the_numbers_before(own, owner):
    own()
    told = split()
    withdraw(told)
    split(5)
    assert numbers() == ("50", "80")
    assert "became 50 shares at $80.00" in text_of(owner)


def test_a_withdrawn_split_that_is_told_again_is_applied_again(own):
    own()
    told = split()
    withdraw(told)
    StockSplit.objects.update(withdrawn_at=None, followed_at=None)
    follow()
    assert numbers() == ("40", "100")


def test_the_question_about_a_withdrawn_split_is_gone(own, owner):
    own(entered=MIDNIGHT)
    withdraw(split())
    assert "split" not in text_of(owner)
    assert not HoldingSplit.objects.exists()

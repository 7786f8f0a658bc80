"""The LLM's tokens of a day, which all processes share."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from market.llm.budget import BudgetUsedUp, reserve, settle
from market.models import LlmDay

pytestmark = pytest.mark.django_db


@pytest.fixture
def limit(configured) -> Any:
    def limit(tokens: int) -> None:
        configured(**{"integration.apis.openai.daily_tokens": tokens})

    return limit


def used() -> list[int]:
    return list(LlmDay.objects.order_by("day").values_list("tokens", flat=True))


def test_what_is_set_aside_counts_until_it_is_known_what_was_used(limit):
    limit(1_000)
    first = reserve(600)
    with pytest.raises(BudgetUsedUp, match=r"^600 of 1000 tokens of .* are used, and the request may need 500 more$"):
        reserve(500)
    settle(first, 100, 0.25)
    assert used() == [100]
    settle(reserve(900), 900, 0.5)
    day = LlmDay.objects.get()
    assert (day.tokens, day.questions, day.cost) == (1_000, 2, 0.75)
    with pytest.raises(BudgetUsedUp):
        reserve(1)


def test_what_is_not_known_counts_in_full(limit):
    limit(1_000)
    settle(reserve(600), None)
    assert used() == [600]


def test_more_than_was_set_aside_counts_as_well_and_nobody_is_let_in_afterwards(limit):
    limit(1_000)
    settle(reserve(600), 5_000)
    assert used() == [5_000]
    with pytest.raises(BudgetUsedUp):
        reserve(1)


def test_a_question_that_outlasts_its_day_counts_for_the_day_on_which_it_was_asked(limit, monkeypatch):
    limit(1_000)
    before_midnight = datetime(2026, 3, 6, 23, 59, 59, tzinfo=UTC)
    monkeypatch.setattr("market.llm.budget.timezone.now", lambda: before_midnight)
    asked = reserve(900)
    monkeypatch.setattr("market.llm.budget.timezone.now", lambda: before_midnight + timedelta(seconds=2))
    reserve(900)
    settle(asked, 10)
    assert used() == [10, 900]


@given_settings(deadline=None)  # it waits for a database
@given(steps=st.lists(st.tuples(st.integers(1, 40_000), st.none() | st.integers(0, 40_000)), max_size=12))
def test_who_uses_no_more_than_was_set_aside_never_exceeds_the_limit(steps):
    limit = settings.JOB_PROCESSOR.integration.apis.openai.daily_tokens
    LlmDay.objects.all().delete()
    for wanted, took in steps:
        try:
            reserved = reserve(wanted)
        except BudgetUsedUp:
            assert used()[0] + wanted > limit
        else:
            settle(reserved, None if took is None else min(took, wanted))
        assert 0 <= used()[0] <= limit


@pytest.mark.django_db(transaction=True)
def test_many_at_once_get_no_more_than_there_is(limit):
    limit(1_000)
    together, got, refused = threading.Barrier(8), list[int](), list[int]()

    def ask() -> None:
        try:
            together.wait(timeout=30)
            for _ in range(3):
                try:
                    reserve(100)
                    got.append(100)
                except BudgetUsedUp:
                    refused.append(100)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(got), len(refused), used()) == (1_000, 14, [1_000])

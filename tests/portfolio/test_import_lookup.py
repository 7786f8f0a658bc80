"""Security numbers of an imported file are searched for, and a person chooses among the found symbols."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from market import symbol_search
from market.models import SecurityNumber
from market.symbol_search import IMPORTING
from portfolio.models import AssignedSymbol
from portfolio.search.answers import MOST_QUESTIONS, SLOW
from portfolio.search.numbers import MOST_NUMBERS
from stockqueue import cache
from stockqueue.cache import Kind
from tests.portfolio.test_import_page import DEGIRO, choose, go_on, words
from tests.portfolio.test_search import search_here
from tests.support.import_page import shares, text
from tests.support.standins.yahoo import SEARCH, daily_bars

pytestmark = pytest.mark.django_db

SAP, APPLE = "DE0007164600", "US0378331005"


@pytest.fixture
def searched(monkeypatch) -> list[str]:
    """The queries that workers were asked for, and have not answered."""
    asked: list[str] = []

    def hand_over(query: str) -> bool:
        asked.append(query)
        return True

    monkeypatch.setattr(symbol_search, "_hand_over", hand_over)
    return asked


def find(number: str, *listed: list[str], problem: str = "") -> None:
    """A worker's answer."""
    cache.put(Kind.SEARCH, [number.lower()], {"matches": list(listed), "problem": problem})


def ask_again(client: Client, page: Any) -> str:
    """The answer to the page's next question."""
    found = re.search(r'hx-get="(/search/numbers/[^"]+)"', text(page))
    assert found
    return client.get(found[1].replace("&amp;", "&")).content.decode()


def test_numbers_are_searched_for_while_the_preview_is_shown(owner, searched):
    preview = choose(owner, f"ISIN,Quantity,Price paid,Currency\n{APPLE},7,101,USD\n{SAP},2,101,EUR\n")
    assert sorted(searched) == sorted([SAP.lower(), APPLE.lower()])
    assert "Searching at Yahoo for 2 of the numbers…" in words(preview)
    assert 'name="symbol-US0378331005"' in text(preview)
    find(SAP, ["SAP", "SAP SE", "NYQ", "NYSE", "Equity"], ["SAP.DE", "SAP SE", "GER", "XETRA", "Equity"])
    answer = ask_again(owner, preview)
    assert answer.index('value="SAP.DE"') < answer.index('value="SAP"')  # the file's currency comes first
    assert 'hx-swap-oob="innerHTML"' in answer
    assert "for 1 of the numbers…" in answer
    assert not AssignedSymbol.objects.exists()


def test_a_found_symbol_counts_once_a_person_has_chosen_it(owner, user, searched):
    find(SAP, ["SAP.DE", "SAP SE", "GER", "XETRA", "Equity"])
    find(APPLE)
    preview = choose(owner, DEGIRO)
    assert f"Found for {SAP} SAP.DE SAP SE XETRA, EUR, Equity None of these" in words(preview)
    assert f"Yahoo lists no symbol for {APPLE}." in words(preview)
    again = go_on(owner, preview, "preview")
    assert not AssignedSymbol.objects.exists()
    again = go_on(owner, again, "preview", {f"found-{SAP}": "SAP.DE", f"symbol-{SAP}": ""})
    assert dict(AssignedSymbol.objects.values_list("number", "symbol")) == {SAP: "SAP.DE"}
    go_on(owner, again, "confirm")
    assert shares(user) == {"SAP.DE": "2"}
    assert not SecurityNumber.objects.exists()


def test_a_typed_symbol_wins_over_a_chosen_one(owner, searched):
    preview = choose(owner, DEGIRO)
    go_on(owner, preview, "preview", {f"found-{SAP}": "SAP.DE", f"symbol-{SAP}": "sap"})
    assert AssignedSymbol.objects.get().symbol == "SAP"


def test_a_wrong_choice_is_refused_like_a_wrong_symbol(owner, searched):
    preview = go_on(owner, choose(owner, DEGIRO), "preview", {f"found-{SAP}": "<script>"})
    assert "is not a symbol" in words(preview)
    assert not AssignedSymbol.objects.exists()


def test_a_page_stops_asking_after_a_bounded_number_of_questions(owner, searched):
    address = f"/search/numbers/?question={MOST_QUESTIONS}&place=1&number={SAP}&currency=EUR"
    answer = owner.get(address).content.decode()
    assert SLOW in answer
    assert "hx-get" not in answer


@pytest.mark.parametrize(
    "query",
    ["", "place=x&number=&currency=", "place=1", "place=²&number=A&currency=", "place=1&number=%00&currency="],
)
def test_wrong_questions_are_ignored(query, owner, searched):
    assert owner.get(f"/search/numbers/?{query}").status_code == 200
    assert searched == []


def test_many_numbers_are_searched_for_in_parts(owner, searched):
    lines = [f"NAME {number},{number:06d}X,1,1" for number in range(MOST_NUMBERS + 5)]
    preview = choose(owner, "Product,WKN,Quantity,Price paid\n" + "\n".join(lines) + "\n")
    numbers = len(re.findall(r'name="symbol-', text(preview)))
    assert numbers == MOST_NUMBERS + 5
    assert len(searched) <= min(MOST_NUMBERS, IMPORTING.a_minute)
    assert "5 more numbers will be searched for after these have symbols." in words(preview)


def test_an_import_leaves_requests_for_the_typing_of_others(owner, searched, configure):
    configure(**{"stock_jobs.data_fetch.rate_limit": 4})
    lines = [f"NAME {number},{number:06d}X,1,1" for number in range(10)]
    preview = choose(owner, "Product,WKN,Quantity,Price paid\n" + "\n".join(lines) + "\n")
    assert len(searched) == 2
    assert "The rate limit of Yahoo is reached" in words(preview)


def test_a_preview_writes_nothing(owner, searched):
    with CaptureQueriesContext(connection) as queries:
        choose(owner, DEGIRO)
    assert not [one["sql"] for one in queries if one["sql"].startswith(("INSERT", "UPDATE", "DELETE", "SAVEPOINT"))]


def test_yahoo_finds_an_isin(owner, yahoo, monkeypatch):
    monkeypatch.setattr(symbol_search, "_hand_over", search_here)
    yahoo.touched.append("SAP.DE")
    yahoo.server.serve("SAP.DE", daily_bars("SAP.DE", 20), name="SAP SE", exchange="GER", isin=SAP)
    before = len(yahoo.server.requests)
    preview = choose(owner, DEGIRO)
    assert sum(one.path == SEARCH for one in yahoo.server.requests[before:]) == 2
    assert 'value="SAP.DE"' in ask_again(owner, preview)

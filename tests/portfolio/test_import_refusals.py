"""Files that are wrong, too long or hostile are refused as a whole, with the reasons."""

import time
from contextlib import suppress

import pytest
from django.core.management import CommandError

from portfolio.files.grid import MOST_LINES
from portfolio.files.reading import read_file
from portfolio.files.refused import ImportRefused
from portfolio.models import Portfolio
from tests.support.import_files import LOG, PLAIN, STATE, STATES

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "text",
    [STATE + "2026-01-05,US0378331005,1,2,,,,,,HOLD,,\n", LOG + "2026-01-07,US0378331005,1,2,,,,,\n"],
    ids=["states", "trades"],
)
def test_a_whole_portfolio_with_an_isin_is_refused_because_a_line_less_would_be_a_sale(text, write, run, user):
    with pytest.raises(
        CommandError, match="line 7: US0378331005 is an ISIN, not a symbol; write the symbol, such as AAPL"
    ):
        run(write(text))
    assert not Portfolio.objects.exists()


@pytest.mark.parametrize(
    ("content", "problems"),
    [
        ("", ["the file is empty; name the columns symbol, shares, buy_price"]),
        ("a;b;c\n1;2;3\n", ["line 1: unknown columns 'a, b, c'; name the columns symbol, shares, buy_price"]),
        (PLAIN, ["the file has only a header"]),
        (
            PLAIN + "AAPL,-1,2\n",
            ["the file names no stock with shares", "line 2: AAPL, left out: it is a short position"],
        ),
        (PLAIN + "AAPL,1,-2\n", ["line 2: buy_price -2 is negative"]),
        (PLAIN + "AAPL,1e300,2\n", ["line 2: shares 1e300 is more than 1,000,000,000,000"]),
        (
            PLAIN + "AAPL,NaN,Infinity\n",
            ["line 2: buy_price 'Infinity' is not", "line 2: shares 'NaN' is not a number"],
        ),
        (PLAIN + "AAPL,ten,2\n", ["line 2: shares 'ten' is not a number; write it as 1234.56"]),
        (PLAIN + "AAPL,,2\n", ["the file names no stock with shares", "line 2: AAPL, left out: it has no shares"]),
        (PLAIN + "AAPL,1,2\nMSFT,1\n", ["line 3: 2 values where the header has 3"]),
        (PLAIN + "<b>,1,2\n😀,1,2\n", ["line 2: '<b>' is not a symbol", "line 3: '😀' is not a symbol"]),
        (PLAIN + "';DROP--,1,2\n", ["line 2: ';DROP--' is not a symbol"]),
        (PLAIN + 'AAPL,"1,2\n', ["line 2: this is not CSV"]),
        (PLAIN + "AAPL\0,1,2\n", ["this is not a text file: it contains NUL"]),
        (STATES + "Monday,AAPL,1,2,,,,,,,,\n", ["line 2: Date 'Monday' is not a day; write it as 2026-01-31"]),
        (STATES + "2026-01-05,AAPL,,2,,,,,,,,\n", ["line 2: Shares is empty"]),
        (
            PLAIN.replace("shares", "symbol") + "AAPL,1,2\n",
            ["line 1: unknown columns 'symbol, symbol, buy_price'; name the columns"],
        ),
        (STATES + "2026-01-05,ABEO,1,1,,,,,,,,\n" * 2, ["line 3: ABEO is on line 2 already"]),
    ],
)
def test_a_file_that_is_wrong_anywhere_is_refused_with_the_lines(content, problems, write, run, user):
    with pytest.raises(CommandError) as refused:
        run(write(content))
    lines = str(refused.value).splitlines()[1:]
    assert len(lines) == len(problems)
    for line, problem in zip(lines, problems, strict=True):
        assert line.strip().startswith(problem)
    assert refused.value.returncode == 1
    assert not Portfolio.objects.exists()


def test_of_two_files_none_is_imported_when_one_is_wrong(write, run, user):
    with pytest.raises(CommandError, match=r"second\.csv was not imported"):
        run(write(STATE), write(PLAIN + "AAPL,x,1\n", "second.csv"))
    assert not Portfolio.objects.exists()


def test_many_problems_are_counted(write, run):
    with pytest.raises(CommandError, match="and 4980 more"):
        run(write(PLAIN + "".join(f"S{number},x,1\n" for number in range(5_000))))


def test_a_refusal_names_every_problem_in_the_order_of_the_lines():
    with pytest.raises(ImportRefused) as refused:
        read_file((PLAIN + "AAPL,x,y\n?,1,2\nMSFT,1\n").encode())
    assert [problem.partition(":")[0] for problem in refused.value.problems] == [
        "line 2",
        "line 2",
        "line 3",
        "line 4",
    ]


def test_a_file_of_more_positions_than_allowed_is_refused(write, run, user, configured):
    configured(**{"portfolio.max_positions": 2})
    run(write(PLAIN + "AAPL,1,2\nMSFT,1,2\nAAPL,3,4\n"))
    with pytest.raises(CommandError, match=r"the file has 3 positions; portfolio\.max_positions allows 2"):
        run(write(PLAIN + "AAPL,1,2\nMSFT,1,2\nIBM,3,4\n"))


def test_a_file_of_too_many_lines_is_refused(write, run):
    with pytest.raises(CommandError, match="the file has more than 50,000 lines"):
        run(write("symbol,shares\n" + "A,1\n" * MOST_LINES))


def test_a_list_of_sold_positions_is_refused(write, run):
    sold = "Symbol,Quantity,Date acquired,Date sold,Proceeds,Cost basis\nAAPL,1,2026-01-01,2026-01-02,3,2\n"
    with pytest.raises(CommandError, match="line 1: this is a list of sold positions"):
        run(write(sold))


@pytest.mark.parametrize(
    "content",
    [
        b"symbol,shares\n" + b"," * 1_500_000,
        b"symbol,shares\n" + b"A,1\n" * (MOST_LINES - 1),
        b'"' * 1_500_000,
        b"Date,Ticker,Shares,Buy Price,Action,Cash Balance,Total Equity\n" + b"2026-01-05,TOTAL,1,1,,,\n" * 50_000,
        b"symbol,shares\n" + b"Total " * 200_000 + b",1\n",
        b'symbol,shares\nAAPL,"' + b" 1" * 60_000 + b'"\n',
        b"symbol;shares\n" * 100_000,
    ],
    ids=["one long line", "many lots", "quotes", "totals of a day", "a long name", "a long number", "headers"],
)
def test_a_hostile_file_takes_time_in_proportion_to_its_size(content):
    """Each takes at most two seconds on a slow machine; a quadratic reader takes minutes."""
    began = time.perf_counter()
    with suppress(ImportRefused):
        read_file(content)
    assert time.perf_counter() - began < 20

"""Portfolios come from CSV files, whole or not at all."""

import json
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from market.models import Stock
from portfolio.imports import ImportRefused, import_statement, read_statement
from portfolio.models import Holding, Portfolio

pytestmark = pytest.mark.django_db

STATES = (
    "Date,Ticker,Shares,Buy Price,Cost Basis,Stop Loss,Current Price,Total Value,PnL,Action,"
    "Cash Balance,Total Equity\n"
)
TRADES = "Date,Ticker,Shares Bought,Buy Price,Cost Basis,PnL,Reason,Shares Sold,Sell Price\n"
PLAIN = "symbol,shares,buy_price\n"

STATE = (
    STATES
    + "2026-01-02,ABEO,4.0,5.77,23.08,4.9,5.80,23.2,0.12,HOLD,,\n"
    + "2026-01-02,TOTAL,,,,,,23.2,0.12,,2.0,25.2\n"
    + "2026-01-05,ABEO,6.0,5.7000000000000002,34.2,4.9,6.00,36.0,1.8,BUY,,\n"
    + "2026-01-05,CADL,10,4.9,49,4,5,50,1,HOLD,,\n"
    + "2026-01-05,TOTAL,,,,,,86.0,2.8,,1.0,87.0\n"
)
LOG = (
    TRADES
    + "2026-01-02,ABEO,10,5.00,50,0,MANUAL BUY,,\n"
    + "2026-01-03,ABEO,10,7.00,70,0,MANUAL BUY,,\n"
    + "2026-01-04,ABEO,,,,10,sold a part,5,8.00\n"
    + "2026-01-02,CADL,3,4.90,14.7,0,MANUAL BUY,,\n"
    + "2026-01-06,CADL,,,,1,AUTOMATED SELL,3,5.10\n"
)


@pytest.fixture
def write(tmp_path):
    """write(text): a file with that content."""

    def write(text: str | bytes, name: str = "portfolio.csv"):
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


@pytest.fixture
def run(user):
    """run(*words): what import_portfolio prints for `user`."""

    def run(*words) -> str:
        out = StringIO()
        call_command("import_portfolio", *map(str, words), "--user", user.username, stdout=out)
        return out.getvalue()

    return run


def holdings(user, name: str = "Main") -> dict[str, tuple[str, str]]:
    held = Holding.objects.filter(portfolio__user=user, portfolio__name=name).select_related("stock")
    return {one.stock.symbol: (show(one.shares), show(one.buy_price)) for one in held}


def show(number: Decimal | None) -> str:
    return "unknown" if number is None else f"{number.normalize():f}"


def test_the_latest_day_of_the_predecessors_states_is_the_portfolio(write, run, user):
    told = run(write(STATE))
    assert holdings(user) == {"ABEO": ("6", "5.7"), "CADL": ("10", "4.9")}
    assert "portfolio update of 2026-01-05, 2 positions" in told
    assert "line 4: ABEO, 6 at 5.7" in told


def test_the_trade_log_leaves_what_was_not_sold_at_its_average_cost(write, run, user):
    run(write(LOG))
    assert holdings(user) == {"ABEO": ("15", "6")}


def test_what_a_whole_portfolio_lacks_was_sold_and_other_portfolios_stay(write, run, user, hold):
    run(write(LOG))
    Portfolio.objects.create(user=user, name="Other").holdings.create(
        stock=Stock.objects.create(symbol="MSFT"), shares=1, buy_price=1
    )
    assert "remove  ABEO, 15 at 6" in run(write(STATES + "2026-02-01,CADL,1,2,2,0,0,0,0,HOLD,,\n"))
    assert holdings(user) == {"CADL": ("1", "2")}
    assert holdings(user, "Other") == {"MSFT": ("1", "1")}


def test_a_plain_list_adds_and_changes_and_removes_nothing(write, run, user):
    run(write(STATE))
    told = run(write(PLAIN + "abeo,7,1.5\nBRK-B,0.25,400\n"))
    assert holdings(user) == {"ABEO": ("7", "1.5"), "CADL": ("10", "4.9"), "BRK-B": ("0.25", "400")}
    assert "line 2: ABEO, 7 at 1.5 (was 6 at 5.7)" in told
    assert "1 added, 1 changed; 0 as they were" in told


@pytest.mark.parametrize("content", [STATE, LOG, PLAIN + "AAPL,1,2\n"])
def test_a_second_import_changes_nothing(content, write, run, user):
    file = write(content)
    run(file)
    before = list(Holding.objects.order_by("pk").values())
    assert "nothing to do" in run(file)
    assert list(Holding.objects.order_by("pk").values()) == before


def test_a_dry_run_tells_the_same_and_writes_nothing(write, run, user):
    file = write(STATE)
    would = run(file, "--dry-run")
    assert (Portfolio.objects.count(), Stock.objects.count()) == (0, 0)
    assert run(file) == would.replace("would be ", "")


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + STATE.encode(),
        STATE.replace("\n", "\r\n").encode(),
        STATE.replace("HOLD", "gehalten für später").encode("latin-1"),
        STATE.replace("Date,Ticker", " date , TICKER").encode(),
        (STATE + "\n , \n\n").replace(" , ", "").encode(),
    ],
    ids=["byte order mark", "Windows", "Latin-1", "header in other cases", "empty lines"],
)
def test_files_come_from_many_programs(content, write, run, user):
    run(write(content))
    assert set(holdings(user)) == {"ABEO", "CADL"}


@pytest.mark.parametrize(
    ("content", "problems"),
    [
        ("", ["line 1: the header is ''; known are: Date,Ticker,Shares,Buy Price"]),
        ("a;b;c\n1;2;3\n", ["line 1: the header is 'a;b;c'; known are"]),
        (PLAIN, ["the file has a header and nothing else"]),
        (PLAIN + "AAPL,-1,2\n", ["line 2: shares -1 is negative"]),
        (PLAIN + "AAPL,1,-2\n", ["line 2: buy_price -2 is negative"]),
        (PLAIN + "AAPL,1e300,2\n", ["line 2: shares 1e300 is more than 1,000,000,000,000"]),
        (
            PLAIN + "AAPL,NaN,Infinity\n",
            ["line 2: buy_price 'Infinity' is not", "line 2: shares 'NaN' is not a number"],
        ),
        (PLAIN + "AAPL,ten,2\n", ["line 2: shares 'ten' is not a number; write it as 1234.56"]),
        (PLAIN + "AAPL,,2\n", ["line 2: shares is 0; the least is 0.000001"]),
        (PLAIN + "AAPL,1,2\nMSFT,1\n", ["line 3: 2 values where the header has 3"]),
        (PLAIN + "AAPL,1,2\naapl,3,4\n", ["line 3: AAPL is on line 2 already"]),
        (PLAIN + "<b>,1,2\n😀,1,2\n", ["line 2: '<b>' is not a symbol", "line 3: '😀' is not a symbol"]),
        (PLAIN + "'; DROP TABLE stock; --,1,2\n", ['line 2: "\'; DROP TABLE stock; --" is not a symbol']),
        (PLAIN + 'AAPL,"1,2\n', ["line 2: this is not CSV"]),
        (PLAIN + "AAPL\0,1,2\n", ["this is not a text file: it contains NUL"]),
        (STATES + "05.01.2026,AAPL,1,2,,,,,,,,\n", ["line 2: Date '05.01.2026' is not a day; write it as 2026-01-31"]),
        (TRADES + "2026-01-01,AAPL,1,2,,,,2,3\n", ["line 2: 2.000000 AAPL are sold where 1.000000 were held"]),
        (STATE + "2026-01-05,ABEO,1,1,,,,,,,,\n", ["line 7: ABEO is on line 4 already"]),
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
    with pytest.raises(CommandError, match=r"second\.csv is not imported"):
        run(write(STATE), write(PLAIN + "AAPL,x,1\n", "second.csv"))
    assert not Portfolio.objects.exists()


def test_many_problems_are_counted(write, run):
    with pytest.raises(CommandError, match="and 4980 more"):
        run(write(PLAIN + "".join(f"S{number},x,1\n" for number in range(5_000))))


def test_many_rows_take_as_many_queries_as_few(user, django_assert_num_queries):
    def statement(count: int):
        return read_statement((PLAIN + "".join(f"S{number},1,2.5\n" for number in range(count))).encode())

    import_statement(statement(10), user)  # creates the portfolio
    with django_assert_num_queries(8):
        import_statement(statement(20), user)
    with django_assert_num_queries(8):
        import_statement(statement(2_000), user)
    import_statement(statement(5_000), user)
    assert Holding.objects.count() == 5_000


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((".",), "cannot be read: Is a directory"),
        (("missing.csv",), "missing.csv cannot be read: No such file or directory"),
        ((), "name a FILE, or a csv_file in portfolio.sources"),
        (("--portfolio", " ", "missing.csv"), "--portfolio needs a name of at most 100 characters"),
    ],
)
def test_bad_arguments_end_with_exit_code_2(words, problem, run):
    with pytest.raises(CommandError, match=problem) as refused:
        run(*words)
    assert refused.value.returncode == 2


def test_an_unknown_user_is_a_bad_argument(write):
    with pytest.raises(CommandError, match="there is no user 'nobody'") as refused:
        call_command("import_portfolio", str(write(STATE)), "--user", "nobody")
    assert refused.value.returncode == 2


def test_without_a_file_those_of_the_configuration_are_imported(write, run, user, configured):
    configured(**{"portfolio.sources": [{"csv_file": str(write(STATE))}, {"database_table": "ignored"}]})
    run()
    assert set(holdings(user)) == {"ABEO", "CADL"}


def test_the_json_has_an_item_a_file(write, run, user):
    (item,) = json.loads(run(write(STATE), "--json"))
    assert (item["statement"]["kind"], item["statement"]["day"]) == ("portfolio update", "2026-01-05")
    assert len(item["added"]) == 2


def test_a_refusal_names_every_problem_in_the_order_of_the_lines():
    with pytest.raises(ImportRefused) as refused:
        read_statement((PLAIN + "AAPL,x,y\n?,1,2\nMSFT,1\n").encode())
    assert [problem.partition(":")[0] for problem in refused.value.problems] == [
        "line 2",
        "line 2",
        "line 3",
        "line 4",
    ]


def test_averages_are_exact():
    (position,) = read_statement(
        (TRADES + "2026-01-01,A,3,1.000001,,,,,\n2026-01-02,A,6,1.000004,,,,,\n").encode()
    ).positions
    assert position.buy_price == Decimal("1.000003")

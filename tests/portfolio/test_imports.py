"""Portfolios come from CSV files, whole or not at all."""

import json
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from market.models import Stock
from portfolio.files.numbers import show_number
from portfolio.files.reading import read_file
from portfolio.imports.changes import import_file, plan_import
from portfolio.models import Holding, Portfolio
from tests.support.import_files import LOG, PLAIN, STATE, STATES, TRADES

pytestmark = pytest.mark.django_db


def holdings(user, name: str = "Main") -> dict[str, tuple[str, str]]:
    held = Holding.objects.filter(portfolio__user=user, portfolio__name=name).select_related("stock")
    return {one.stock.symbol: (show_number(one.shares), show_price(one.buy_price)) for one in held}


def show_price(price: Decimal | None) -> str:
    return "unknown" if price is None else show_number(price)


def test_the_latest_day_of_the_predecessors_states_is_the_portfolio(write, run, user):
    told = run(write(STATE))
    assert holdings(user) == {"ABEO": ("6", "5.7"), "CADL": ("10", "4.9")}
    assert "portfolio update of 2026-01-05, 2 positions" in told
    assert "line 4: ABEO, 6 at 5.7" in told


def test_the_trade_log_leaves_what_was_not_sold_at_its_average_cost(write, run, user):
    run(write(LOG))
    assert holdings(user) == {"ABEO": ("15", "6")}


def test_a_row_that_says_sell_was_sold_that_day_and_is_no_position(write, run, user):
    text = (
        STATES
        + "2026-01-02,ABEO,4,5.77,23.08,4.9,5.80,23.2,0.12,SELL - Stop Loss Triggered,,\n"
        + "2026-01-05,ABEO,6,5.7,34.2,4.9,6.00,36.0,1.8,HOLD,,\n"
        + "2026-01-05,ABEO,2,5.7,11.4,4.9,6.00,12.0,0.6,SELL - trimmed,,\n"
        + "2026-01-05,IINN,16,1.5,24,1.1,1.1,17.6,-6.4, sell - Stop Loss Triggered,,\n"
        + "2026-01-05,TOTAL,,,,,,36.0,1.8,,30.6,66.6\n"
    )
    told = run(write(text))
    assert holdings(user) == {"ABEO": ("6", "5.7")}
    assert "note  line 5: IINN, left out: it was sold that day (sell - Stop Loss Triggered)" in told
    assert "1 added; 0 unchanged; 2 notes" in told


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (
            "Date,Ticker,Shares,Cost Basis,Stop Loss,Current Price,Total Value,PnL,Action,Cash Balance,"
            "Total Equity,Buy Price",
            "2026-01-05,ABEO,6,34.2,4.9,6,36,1.8,HOLD,,,5.7",
        ),
        (
            "Ticker,Date,Sell Price,Shares Sold,Reason,PnL,Cost Basis,Buy Price,Shares Bought",
            "ABEO,2026-01-05,,,MANUAL BUY,0,34.2,5.7,6",
        ),
        ("Buy_Price,SHARES,Symbol", "5.7,6,ABEO"),
    ],
    ids=["states, as in the template", "trades", "plain"],
)
def test_columns_are_known_by_their_names_in_any_order(header, row, write, run, user):
    run(write(f"{header}\n{row}\n"))
    assert holdings(user) == {"ABEO": ("6", "5.7")}


def test_a_log_that_begins_after_a_purchase_hints_at_it_and_the_rest_is_imported(write, run, user, hold):
    hold(user, "ABEO", "MSFT")
    told = run(write(TRADES + "2026-01-02,AXGN,2,14.96,,,,,\n2026-01-03,ABEO,,,11.5,1.2,TRIM,2.0,6.37\n"))
    assert "note  line 3: 2 ABEO sold that the log never bought: ABEO was bought before the log begins" in told
    assert holdings(user) == {"ABEO": ("10", "2"), "AXGN": ("2", "14.96")}  # MSFT, without a word in the log, is sold


def test_purchases_of_a_day_come_before_its_sales_whatever_the_order_of_the_file(write, run, user):
    told = run(write(TRADES + "2026-01-05,ABEO,,,9,1,SELL,2,5\n2026-01-05,ABEO,12,4.5,54,0,BUY,,\n"))
    assert holdings(user) == {"ABEO": ("10", "4.5")}
    assert "note" not in told


def test_shares_are_added_up_before_they_are_rounded(write, run, user):
    bought = "2026-01-01,ABEO,0.3333333,3,1,0,BUY,,\n" * 3
    told = run(write(TRADES + bought + "2026-01-01,AXGN,1,2,2,0,BUY,,\n2026-01-04,ABEO,,,3,0.2,SELL,0.9999999,3.2\n"))
    assert holdings(user) == {"AXGN": ("1", "2")}
    assert "note" not in told


def test_the_average_cost_is_unknown_where_a_purchase_has_no_price(write, run, user):
    log = TRADES + "2026-01-01,ABEO,1,5,,,,,\n2026-01-02,ABEO,1,,,,,,\n"
    run(write(log))
    assert holdings(user) == {"ABEO": ("2", "unknown")}
    run(write(log + "2026-01-03,ABEO,,,,,,2,9\n2026-01-04,ABEO,3,7,,,,,\n"))
    assert holdings(user) == {"ABEO": ("3", "7")}


def test_an_empty_buy_price_is_unknown_and_not_0(write, run, user):
    file = write(PLAIN + "AAPL,10,\nMSFT,1,0\n")
    assert "line 2: AAPL, 10 at an unknown buy price" in run(file)
    assert holdings(user) == {"AAPL": ("10", "unknown"), "MSFT": ("1", "0")}
    assert "no changes" in run(file)


def test_an_empty_buy_price_keeps_the_stored_one(write, run, user):
    run(write(PLAIN + "AAPL,10,150\nMSFT,1,2\n"))
    told = run(write(PLAIN + "AAPL,12,\nMSFT,1,\n"))
    assert holdings(user) == {"AAPL": ("12", "150"), "MSFT": ("1", "2")}
    assert "line 2: AAPL, 12 at 150 (the stored price; the file has none) (was 10 at 150)" in told
    assert "0 added" not in told
    assert "1 changed; 1 unchanged" in told


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("TOTAL,12,1514.8", "it is a total"),
        ("Total,12,", "it is a total"),
        ("Account Total,,1514.8", "it is a total"),
        ("Total (USD),,--", "it is a total"),
        ("Cash & Cash Investments,--,--", "it is cash"),
        ("Available cash,1601.37,1", "it is cash"),
        ("Cash,1601.37,", "it is cash; write the stock CASH in upper case and with its buy_price"),
        ("cash,1,1601.37", "it is cash; write the stock"),
        ("CASH,1601.37,1.00", "it is cash; write the stock"),
        ("CASH,1601.37,", "it is cash; write the stock"),
        ("US0378331005,10,150", "it is an ISIN, not a symbol; write the symbol, such as AAPL"),
        ("037833100,10,150", "it is a CUSIP, not a symbol"),
    ],
)
def test_a_line_of_a_plain_list_that_names_no_stock_is_left_out_and_told(row, why, write, run, user):
    told = run(write(f"{PLAIN}AAPL,10,150\n{row}\n"))
    assert f"note  line 3: {row.partition(',')[0]}, left out: {why}" in told
    assert holdings(user) == {"AAPL": ("10", "150")}
    assert list(Stock.objects.values_list("symbol", flat=True)) == ["AAPL"]


@pytest.mark.parametrize("symbol", ["CASH", "US0378331006", "037833101", "CASH.L", "TOT"])
def test_a_stock_that_is_called_almost_like_that_is_one(symbol, write, run, user):
    assert "note" not in run(write(f"{PLAIN}{symbol},10,80.25\n"))
    assert holdings(user) == {symbol: ("10", "80.25")}


def test_cash_in_a_whole_portfolio_is_left_out_and_told_once(write, run, user):
    cash = "2026-01-0{},Cash,5,1,,,,,,HOLD,,\n"
    told = run(write(STATE + cash.format(2) + cash.format(5)))
    assert set(holdings(user)) == {"ABEO", "CADL"}
    assert told.count("Cash, left out") == 1


def test_cash_in_a_whole_portfolio_does_not_remove_the_stock_cash(write, run, user, hold):
    hold(user, "CASH", "MSFT")
    run(write(STATE + "2026-01-05,CASH,5,1,,,,,,HOLD,,\n"))
    assert holdings(user) == {"ABEO": ("6", "5.7"), "CADL": ("10", "4.9"), "CASH": ("10", "2")}


def test_less_than_the_least_number_of_shares_is_nothing(write, run, user):
    run(write(TRADES + "2026-01-05,ABEO,0.000000001,5,,,,,\n2026-01-05,AXGN,1,2,,,,,\n"))
    assert set(holdings(user)) == {"AXGN"}


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
    assert "1 added, 1 changed; 0 unchanged" in told


@pytest.mark.parametrize("content", [STATE, LOG, PLAIN + "AAPL,1,2\n"])
def test_a_second_import_changes_nothing(content, write, run, user):
    file = write(content)
    run(file)
    before = list(Holding.objects.order_by("pk").values())
    assert "no changes" in run(file)
    assert list(Holding.objects.order_by("pk").values()) == before


def test_a_dry_run_tells_the_same_and_writes_nothing(write, run, user):
    file = write(STATE)
    would = run(file, "--dry-run")
    assert (Portfolio.objects.count(), Stock.objects.count()) == (0, 0)
    assert run(file) == would.replace("dry run: ", "")


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


def test_many_rows_take_as_many_queries_as_few(user, django_assert_num_queries):
    def statement(count: int):
        return read_file((PLAIN + "".join(f"S{number},1,2.5\n" for number in range(count))).encode())

    import_file(statement(10), user)  # creates the portfolio
    with django_assert_num_queries(8):
        import_file(statement(20), user)
    with django_assert_num_queries(8):
        import_file(statement(1_500), user)
    import_file(statement(5_000), user)
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
    assert (item["content"]["kind"], item["content"]["day"]) == ("portfolio update", "2026-01-05")
    assert item["content"]["notes"] == []
    (portfolio,) = item["portfolios"]
    assert (portfolio["portfolio"], len(portfolio["added"])) == ("Main", 2)


def test_averages_are_exact():
    (position,) = read_file(
        (TRADES + "2026-01-01,A,3,1.000001,,,,,\n2026-01-02,A,6,1.000004,,,,,\n").encode()
    ).positions
    assert position.buy_price == Decimal("1.000003")


ACCOUNTS = "Account Name,Symbol,Quantity,Average Cost\nSavings,AAPL,10,150\nSavings,MSFT,1,20\nRetirement,AAPL,5,100\n"


def test_a_file_of_several_accounts_becomes_a_portfolio_for_each(write, run, user):
    told = run(write(ACCOUNTS))
    assert holdings(user, "Savings") == {"AAPL": ("10", "150"), "MSFT": ("1", "20")}
    assert holdings(user, "Retirement") == {"AAPL": ("5", "100")}
    assert "portfolio  Retirement\n  add  line 4: AAPL, 5 at 100" in told
    assert "Savings: 2 added; 0 unchanged; Retirement: 1 added; 0 unchanged" in told
    assert "Savings: no changes; 2 unchanged" in run(write(ACCOUNTS))


def test_with_a_name_several_accounts_become_one_portfolio(write, run, user):
    run(write(ACCOUNTS), "--portfolio", "All")
    assert holdings(user, "All") == {"AAPL": ("15", "133.33333333"), "MSFT": ("1", "20")}
    assert Portfolio.objects.count() == 1


def test_the_symbol_of_a_securitys_number_is_kept_for_later_files(write, run, user):
    degiro = (
        "Product,Symbol/ISIN,Amount,Closing,Local value,,Value in EUR\n"
        'APPLE INC,US0378331005,7,"101,50",USD,"710,50","651,00"\n'
    )
    with pytest.raises(CommandError, match="line 2: US0378331005 is an ISIN, not a symbol"):
        run(write(degiro))
    run(write(degiro), "--symbol", "us0378331005=aapl")
    assert holdings(user) == {"AAPL": ("7", "unknown")}
    run(write(degiro.replace(",7,", ",8,")))
    assert holdings(user) == {"AAPL": ("8", "unknown")}


@pytest.mark.parametrize("text", ["US0378331005", "=AAPL", "US0378331005=<b>", "a b=AAPL"])
def test_an_assignment_that_is_wrong_is_a_bad_argument(text, write, run):
    with pytest.raises(CommandError, match="--symbol") as refused:
        run(write(PLAIN + "AAPL,1,2\n"), "--symbol", text)
    assert refused.value.returncode == 2


def test_a_file_without_costs_says_so(write, run):
    assert "note  line 1: no column has the price paid, so buy prices are unknown" in run(
        write("Symbol,Shares\nAAPL,1\n")
    )


def test_a_plan_tells_what_an_import_does_and_writes_nothing(user, hold, django_assert_num_queries):
    hold(user, "MSFT")
    content = read_file((STATE).encode())
    with django_assert_num_queries(3) as queries:
        planned = plan_import(content, user)
    assert all(query["sql"].startswith("SELECT") for query in queries.captured_queries)
    assert import_file(content, user).portfolios == planned.portfolios

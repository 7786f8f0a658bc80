"""Files of brokers and programs become positions.

The files in `brokers/` have the real names of columns and rows of the real shapes. Each names the source of its
header: a public importer, or the program's own repository. Symbols with Q are made up, and so are all numbers.
"""

from pathlib import Path
from typing import NamedTuple

import pytest

from portfolio.files.content import FilePosition
from portfolio.files.numbers import show_number
from portfolio.files.reading import read_file

FOLDER = Path(__file__).parent / "brokers"


class BrokerFile(NamedTuple):
    """`expected`: the positions, as `account/symbol: shares @ buy price`. `notes`: empty where they are not tested."""

    name: str
    source: str
    expected: list[str]
    notes: list[str] = []


FILES = [
    BrokerFile(
        "schwab-positions-2021",
        "open-portfolio/FINporter Tests/Importers/ChuckPositionsAllTests.swift",
        [
            "Individual                  XXXX-1234/QAAA: 1961 @ 100",
            "Roth IRA                    XXXX-5678/QAAA: 10 @ 100",
        ],
        ["line 6: Cash & Cash Investments, left out: it is cash", "line 7: Account Total, left out: it is a total"],
    ),
    BrokerFile(
        "schwab-positions",
        "vroonhof/opensteuerauszug; redstreet/beancount_reds_importers importers/schwab",
        ["QAA-B: 25 @ 129.04"],
        [
            "line 5: QAAA 12/20/2024 150.00 C, left out: it is an option",
            "line 6: 912828ZT0, left out: it is no stock (Fixed Income)",
            "line 7: Positions Total, left out: it is a total",
        ],
    ),
    BrokerFile(
        "schwab-transactions",
        "redstreet/beancount_reds_importers; dickwolff/Export-To-Ghostfolio samples/schwab-export.csv",
        ["QAAA: 100 @ 7.35", "QBBB: 10 @ 70.03239472"],
        [
            "line 2: and below, left out because no shares change: 1 Bank Interest, 1 Reinvest Dividend, "
            "1 Sell to Open, 1 no action"
        ],
    ),
    BrokerFile(
        "fidelity-positions",
        "redstreet/beancount_reds_importers importers/fidelity/fidelity_all_account_positions_csv.py",
        ["Individual/QAAA: 2000 @ 2.19", "Rollover IRA/BRK-B: 2 @ 300"],
        [
            "line 2: SPAXX**, left out: it is cash",
            "line 5: -QROX260821C150, left out: it is an option",
            "line 7: Pending Activity, left out: it has no symbol",
        ],
    ),
    BrokerFile(
        "fidelity-history",
        "redstreet/beancount_reds_importers; simonmichael/hledger examples/csv/investment/fidelity.csv.rules",
        ["QAAA: 50 @ 16.5", "QBBB: 10 @ 75"],
        [
            "line 4: and below, left out because no shares change: 1 DIVIDEND RECEIVED BETA INC (QBBB) (Cash)",
            "line 8: SPAXX, left out: it is cash",
        ],
    ),
    BrokerFile(
        "vanguard",
        "simonmichael/hledger examples/csv/investment/vanguard.csv.rules; redstreet/beancount_reds_importers",
        ["68411173/QAAA: 47.192 @ 400"],
        ["line 3: VMFXX, left out: it is cash", "line 4: null, left out: it has no symbol"],
    ),
    BrokerFile(
        "interactive-brokers-statement",
        "KapJI/capital-gains-calculator; cdump/investments tests/report_parsers/ib_test.py",
        ["QAAA: 10.0545 @ 239.2", "QSAP.DE: 5 @ 100", "QENB.TO: 154 @ 51.5"],
        [
            "line 8: QENB is taken as QENB.TO, by its currency",
            "line 11: QAAA 28MAR25 222.5 C, left out: it is an option",
        ],
    ),
    BrokerFile(
        "interactive-brokers-trades",
        "cdump/investments tests/report_parsers/ib_test.py",
        ["QAMC: 1500 @ 39.5"],
    ),
    BrokerFile(
        "interactive-brokers-transaction-history",
        "KapJI/capital-gains-calculator tests/interactive_brokers/data/test_basic.csv",
        ["U***00000/QCNX: 2 @ 1000"],
    ),
    BrokerFile(
        "interactive-brokers-flex-positions",
        "the Flex Query Guide of Interactive Brokers",
        ["U1/QKESKOB.HE: 1000 @ 18.26"],
    ),
    BrokerFile(
        "interactive-brokers-flex-trades",
        "dickwolff/Export-To-Ghostfolio samples/ibkr-trades-export.csv; ghostfolio test/import/ok/vti-buy-on-ibkr.csv",
        ["QVTI: 90 @ 93.78"],
    ),
    BrokerFile(
        "etrade-portfolio",
        "exports of PortfolioDownload.csv in public repositories of importers",
        ["QAAA: 965 @ 1.74"],
        [
            "line 11: KEY BANK CD CLEVELAND OH CD 3.85% 08/24/, left out: it has no symbol",
            "line 14: QQQ Dec 31 '26 $600 Put, left out: it is an option",
            "line 15: VMFXX, left out: it is cash",
            "line 16: CASH, left out: it is cash; write the stock CASH in upper case and with its Price Paid $",
            "line 17: TOTAL, left out: it is a total",
        ],
    ),
    BrokerFile(
        "etrade-transactions",
        "exports of DownloadTxnHistory.csv in public repositories of importers",
        ["QAMZ: 7 @ 31.1176"],
    ),
    BrokerFile(
        "robinhood",
        "importers of Robinhood's account activity in public repositories",
        ["QAAA: 96 @ 122", "QSOF: 302 @ unknown"],
        ["line 3: and below, left out because no shares change: 1 CDIV, 1 OASGN"],
    ),
    BrokerFile(
        "merrill-holdings",
        "importers of Merrill's Holdings_AllAccounts.csv in public repositories",
        ["42X-49U23/QADB: 254 @ 246"],
        ["line 3: ML DIRECT DEPOSIT PROGRM, left out: it is cash"],
    ),
    BrokerFile(
        "merrill-activity",
        "importers of Merrill Edge's ExportData.csv in public repositories",
        ["CMA-Edge 00X-00000/QJEP: 4 @ 57"],
    ),
    BrokerFile(
        "yahoo-finance",
        "ghostfolio/ghostfolio test/import/ok/ok-yahoo-finance.csv",
        ["QAN.F: 3 @ 102", "QVDA: 0.75 @ 194.5"],
        ["line 2: and below, left out because no shares change: 1 DEPOSIT, 1 no action"],
    ),
    BrokerFile(
        "yahoo-finance-2022",
        "ghostfolio/ghostfolio test/import/ok/ok-yahoo-finance.csv",
        ["QVT: 1000 @ 89"],
    ),
    BrokerFile(
        "degiro-portfolio",
        "opensteuerauszug importers/degiro; Export-To-Ghostfolio",
        ["US6536561086: 13 @ unknown"],
        [
            "line 1: no column has the price paid, so buy prices are unknown",
            "line 2: CASH & CASH FUND & FTX CASH (EUR), left out: it is cash",
        ],
    ),
    BrokerFile(
        "degiro-transactions",
        "Export-To-Ghostfolio; opensteuerauszug importers/degiro",
        ["US81642T2096: 1000 @ 6.5"],
    ),
    BrokerFile(
        "degiro-transactions-german-2022",
        "importers of DEGIRO's Transactions.csv in public repositories",
        ["US01609W1027: 4 @ 237.69"],
    ),
    BrokerFile(
        "trading-212",
        "dickwolff/Export-To-Ghostfolio samples/trading212-export.csv; KapJI/capital-gains-calculator",
        ["QCSC: 6 @ 8.32666667", "QVOD.L: 100 @ 70.5"],
        [
            "line 2: and below, left out because no shares change: 1 Deposit, "
            "1 Dividend (Dividends paid by us corporati, 1 Stock split close",
            "line 4: QVOD is taken as QVOD.L, by its currency",
            "line 9: QCSC, left out: 'Market look' is neither a purchase nor a sale",
        ],
    ),
    BrokerFile(
        "zerodha-console-holdings",
        "importers of Zerodha's holdings.xlsx in public repositories",
        ["QCOLAB.NS: 2185 @ 46.0002", "QADANI.NS: 420 @ 100"],
        ["line 11: QCOLAB is taken as QCOLAB.NS, by its ISIN", "line 12: QADANI is taken as QADANI.NS, by its ISIN"],
    ),
    BrokerFile(
        "zerodha-kite-holdings",
        "importers of Kite's holdings.csv in public repositories",
        ["QILT.NS: 7500 @ 64.3", "RELIANCE.NS: 2 @ 7847.5"],
    ),
    BrokerFile(
        "zerodha-console-tradebook",
        "importers of Zerodha's tradebook in public repositories",
        ["QINFY.BO: 1 @ 1500", "QINFY.NS: 5 @ 1500"],
    ),
    BrokerFile(
        "ghostfolio",
        "ghostfolio/ghostfolio test/import/ok/sample.csv",
        ["QSFT: 4 @ 298.58"],
    ),
    BrokerFile(
        "wealthfolio-activities",
        "afadil/wealthfolio apps/frontend/public/sample-import.csv",
        ["QAPL: 15 @ 60", "QGOO: 2 @ 140"],
    ),
    BrokerFile(
        "wealthfolio-holdings",
        "afadil/wealthfolio apps/frontend/public/sample-holdings-import.csv",
        ["QAPL: 55 @ unknown"],
        ["line 5: $CASH, left out: it is cash"],
    ),
    BrokerFile(
        "portfolio-performance-german",
        "portfolio-performance/portfolio datatransfer/csv/CSVExporter.java",
        ["QAPL: 12.5 @ 184", "QEUN.DE: 10 @ 100", "QSAP.DE: 2 @ 500"],
    ),
    BrokerFile(
        "portfolio-performance-assets-german",
        "portfolio-performance/portfolio messages of the view of holdings",
        ["QIQQ.DE: 40 @ unknown", "QAPL: 10 @ unknown"],
        ["line 2: Summe, left out: it is a total", "line 5: Verrechnungskonto, left out: it has no symbol"],
    ),
    BrokerFile(
        "sharesight-trades",
        "KapJI/capital-gains-calculator tests/sharesight/data/inputs/All Trades Report - Test.csv",
        ["QBHP.AX: 7 @ 30", "QFOO: 15 @ 125"],
        ["line 4: XBT, left out: it is a currency"],
    ),
    BrokerFile(
        "sharesight-swedish",
        "importers of Sharesight's All Trades Report in public repositories",
        ["QSFT: 500 @ 12.5"],
    ),
    BrokerFile(
        "sharesight-template",
        "0Lucifer0/SharesightImporter",
        ["QBAR.L: 5 @ 100", "QVAS.AX: 50 @ 88.2"],
    ),
    BrokerFile(
        "revolut",
        "dickwolff/Export-To-Ghostfolio samples/revolut-invest-export.csv",
        ["QO: 3 @ 26"],
    ),
    BrokerFile(
        "scalable-capital",
        "dickwolff/Export-To-Ghostfolio samples/scalablecapital-export.csv",
        ["IE00B1W57M07: 3.5 @ 20"],
    ),
    BrokerFile(
        "wealthsimple",
        "importers of Wealthsimple's holdings report in public repositories",
        ["Demo TFSA/QAPL: 10 @ 75", "Demo TFSA/QSHO.TO: 3 @ 30"],
    ),
]


@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_the_file_of_a_broker_becomes_its_positions(file: BrokerFile):
    read = read_file((FOLDER / f"{file.name}.csv").read_bytes())
    assert sorted(map(show, read.positions)) == sorted(file.expected)
    if file.notes:
        assert list(read.notes) == file.notes


def show(position: FilePosition) -> str:
    account = f"{position.account}/" if position.account else ""
    price = "unknown" if position.buy_price is None else show_number(position.buy_price)
    return f"{account}{position.key}: {show_number(position.shares)} @ {price}"


def test_every_file_is_read():
    assert {file.stem for file in FOLDER.iterdir()} == {file.name for file in FILES}

"""Small traps in files: each line here came out wrong once."""

import pytest

from portfolio.files.reading import read_file
from portfolio.files.refused import ImportRefused
from tests.portfolio.files.test_brokers import show

FIDELITY = "Run Date,Action,Symbol,Description,Type,Price ($),Quantity,Amount ($)\n"
SCHWAB = '"Date","Action","Symbol","Description","Quantity","Price","Fees & Comm","Amount"\n'
ROBINHOOD = "Activity Date,Instrument,Description,Trans Code,Quantity,Price,Amount\n"
TRADING_212 = "Action,Time,ISIN,Ticker,Name,No. of shares,Price / share,Currency (Price / share)\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "Symbol,Shares,Cost/Share\nAAPL,1,2\nETFs,Value: 100\nVOO,3,4\n",
            ["AAPL: 1 @ 2", "VOO: 3 @ 4"],
            id="a line of another shape between rows",
        ),
        pytest.param(
            "Doe Trust, Jane ...123\nSymbol,Qty,Price Paid\nAAPL,1,2\nDoe IRA, Jane ...456\n"
            "Symbol,Qty,Price Paid\nMSFT,3,4\n",
            ["Doe IRA, Jane ...456/MSFT: 3 @ 4", "Doe Trust, Jane ...123/AAPL: 1 @ 2"],
            id="names of accounts with a comma",
        ),
        pytest.param(
            "Date,Ticker,Name,Quantity,Price\n2026-01-02,BBY,Best Buy Co Inc,10,70\n"
            "2026-01-05,BBY,Best Buy Co Inc,-4,80\n2026-01-02,AAPL,Apple Inc,5,150\n",
            ["AAPL: 5 @ 150", "BBY: 6 @ 70"],
            id="a name with the word buy",
        ),
        pytest.param(
            TRADING_212 + "Market buy,2026-01-05 09:00:00,US1,QA,A,10,100,USD\n"
            "Market sell,2026-02-05 10:00:00,US1,QA,A,10,120,USD\n"
            "Market buy,2026-02-05 15:00:00,US1,QA,A,10,190,USD\n",
            ["QA: 10 @ 190"],
            id="a sale before a purchase on one day, by the clock",
        ),
        pytest.param(
            FIDELITY + "01/02/2026,YOU BOUGHT LARGO (LGO) (Cash),LGO,LARGO,Cash,1,1300,-1300\n"
            "01/05/2026,REVERSE SPLIT R/S TO 517 (Cash),LGO,LARGO,Cash,,-1300,\n"
            "01/05/2026,REVERSE SPLIT R/S FROM 517 (Cash),LGO,LARGO,Cash,,130,\n",
            ["LGO: 130 @ 10"],
            id="a reverse split in two rows",
        ),
        pytest.param(
            FIDELITY + "01/02/2026,TRANSFERRED FROM VS X12 APPLE INC (AAPL) (Cash),AAPL,APPLE,Cash,,10,\n",
            ["AAPL: 10 @ unknown"],
            id="a transfer of shares in a cash account",
        ),
        pytest.param(
            "TransactionDate,TransactionType,Symbol,Quantity,Amount,Price\n12/30/19,Bought,QSP,9,-90,10\n"
            "12/31/19,Dividend,QSP,1,-10,0\n12/31/19,Dividend,QSP,0,10,0\n",
            ["QSP: 10 @ 10"],
            id="a dividend that paid for shares",
        ),
        pytest.param(
            "Symbol;Anzahl;Kaufkurs\nAAPL;10;150\nGesamtsumme;15;\nSumme;15;\nTotale;15;\nSUM;2;3\n",
            ["AAPL: 10 @ 150", "SUM: 2 @ 3"],
            id="sums in other languages, and a stock with such a symbol",
        ),
        pytest.param(
            "symbol,segment,trade_date,trade_type,quantity,price\nQINFY,EQ,2026-01-02,buy,10,1500\n"
            "BANKNIFTY24JAN48000CE,FO,2026-01-02,buy,15,310\nRELIANCE24JANFUT,FO,2026-01-02,buy,250,2800\n",
            ["QINFY: 10 @ 1500"],
            id="options and futures of India",
        ),
        pytest.param(
            "Symbol,Asset class,Quantity,Average cost\nQA,Equity,1,2\nETH,Cryptocurrency,3,4\n",
            ["QA: 1 @ 2"],
            id="a coin without its currency",
        ),
        pytest.param(
            "Symbol,Description,Quantity,Cost Basis Per Share\nQYLD,GLOBAL X NASDAQ 100 COVERED CALL ETF,5,17\n"
            "QAA,PUT (QAA) ALPHA JAN 02 26 $225,3,6\n",
            ["QYLD: 5 @ 17"],
            id="a fund that writes options, and an option",
        ),
        pytest.param(
            "Product,ISIN,Quantity,Average price\nTOTAL SE,FR0000120271,10,50\n"
            "FIRST CASH HOLDINGS,US33767D1054,2,80\n",
            ["FR0000120271: 10 @ 50", "US33767D1054: 2 @ 80"],
            id="companies with the words total and cash in their names",
        ),
        pytest.param(
            "Code,Stock,Units held,Price (pence),Cost (£)\nVUAG,Vanguard S&P 500,100,10500,9000\n",
            ["VUAG: 100 @ 90"],
            id="a code beside the name of a stock",
        ),
        pytest.param(
            "Date,Symbol,Quantity,Price,Currency\n2026-01-05,AAPL,1,2,USD\n2026-03-05,MSFT,3,4,USD\n",
            ["AAPL: 1 @ 2", "MSFT: 3 @ 4"],
            id="purchases with the columns of a list of holdings by day",
        ),
        pytest.param(
            "Symbol,Quantity,Price,Purchase Price,Date Acquired\nAAPL,10,200,150,2026-01-02\n"
            "TSLA,-3,200,150,2026-01-02\n",
            ["AAPL: 10 @ 150"],
            id="a price paid beside the price of today",
        ),
        pytest.param(
            "date,symbol,quantity,activityType,unitPrice,currency,fee,amount\n2026-01-02,QA,5,BUY,,USD,5,1005\n",
            ["QA: 5 @ 200"],
            id="an amount in place of a price",
        ),
        pytest.param(
            SCHWAB + '"01/02/2026","Buy","QA","A","1","2","","-2"\n'
            '"01/02/2026","Security Transfer","NO NUMBER","TOA ACAT 0001","","","","$101000.00"\n',
            ["QA: 1 @ 2"],
            id="a transfer of money in a list of shares",
        ),
        pytest.param(
            ROBINHOOD + "1/3/2026,OLD,Old,MRGS,10S,,\n1/2/2026,OLD,Old,Buy,10,$2,($20)\n1/3/2026,NEW,New,MRGS,2,,\n",
            ["NEW: 2 @ unknown"],
            id="shares that go with an S",
        ),
        pytest.param(
            "Symbol,Qty,Cost Basis\nQA,5,Incomplete\nMSFT,1,2\n",
            ["MSFT: 1 @ 2", "QA: 5 @ unknown"],
            id="an incomplete cost",
        ),
        pytest.param(
            "Run Date,Account,Action,Symbol,Quantity,Price ($)\n"
            '01/02/2026,"Individual" X91636470,YOU BOUGHT A (QA),QA,1,2\n',
            ["Individual X91636470/QA: 1 @ 2"],
            id="text after a quoted text",
        ),
        pytest.param(
            "Symbol,Trade Date,Purchase Price,Quantity,Transaction Type\nQA,,150,2,BUY\nQA,20260102,160,1,SELL\n",
            ["QA: 1 @ 150"],
            id="a purchase without a day",
        ),
        pytest.param(
            "Symbol,Shares,Price paid,Currency\n700,100,300,HKD\n",
            ["0700.HK: 100 @ 300"],
            id="a short code of Hong Kong",
        ),
    ],
)
def test_a_trap_comes_out_right(text, expected):
    assert sorted(map(show, read_file(text.encode()).positions)) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Symbol,Name,Shares,Price\nAMZN,Amazon.com, Inc.,3,100\n", "line 2: 5 values where the header has 4"),
        ("Symbol,Shares,Cost basis\nMSFT,1.1102230246251565e-16,50000\n", "the file names no stock with shares"),
        ("Symbol,Shares,Cost basis\nMSFT,0.00000001,50000000\n", "more than 1,000,000,000,000"),
        ('{"activities": []}', "this is a JSON file"),
        ("Symbol,Name,Last,Change,Volume\nNVDA,NVIDIA,180,1,1472036\n", "unknown columns"),
    ],
)
def test_a_trap_is_refused_with_its_reason(text, problem):
    with pytest.raises(ImportRefused) as refused:
        read_file(text.encode())
    assert problem in str(refused.value)


def test_a_symbol_of_the_euro_without_an_exchange_is_told():
    read = read_file(b"Symbol,Shares,Price paid,Currency\nSAP,1,100,EUR\n")
    assert read.notes == ("line 2: SAP is taken as the stock in the United States, but its price is in EUR",)


def test_a_split_with_the_old_shares_under_a_number_is_told():
    text = SCHWAB + (
        '"06/10/2024","Reverse Split","TNXP","TONIX","1","","",""\n'
        '"06/10/2024","Reverse Split","890260854","TONIX XXXREVERSE SPLIT","-100","","",""\n'
        '"01/02/2024","Buy","TNXP","TONIX","100","$0.5","","-$50"\n'
    )
    assert any("check the shares of the stock" in note for note in read_file(text.encode()).notes)

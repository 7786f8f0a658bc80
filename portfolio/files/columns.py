"""The columns of a table about a portfolio, by the names in the files of brokers and other programs."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from enum import StrEnum


class Column(StrEnum):
    """The meaning of a column. The value is the text for people who assign columns."""

    SYMBOL = "symbol"
    NUMBER = "ISIN, CUSIP or WKN"
    NAME = "name of the stock"
    SHARES = "shares"
    BUY_PRICE = "price paid for a share"
    TOTAL_COST = "price paid for all shares"
    PRICE = "price of a share"
    AMOUNT = "amount of the trade"
    DATE = "day"
    ACTION = "buy or sell"
    BOUGHT = "shares bought"
    SOLD = "shares sold"
    SELL_PRICE = "price of a sold share"
    CURRENCY = "currency"
    ACCOUNT = "account"
    PORTFOLIO = "portfolio"
    EXCHANGE = "exchange"
    KIND = "kind of security"
    FEES = "fees"
    TAXES = "taxes"
    GROSS = "amount in the stock's currency"
    PLEDGED = "shares pledged as margin"
    LENT = "shares pledged for a loan"
    STATUS = "state of the order"
    LEVEL = "level of detail"
    WORTH = "value today"
    GAIN = "gain"


# In the order in which a table with several is read: of two columns for the same thing, the first one counts.
_NAMES: Mapping[Column, str] = {
    Column.SYMBOL: """
        symbol; ticker; ticker symbol; stock symbol; security symbol; tradingsymbol; trading symbol;
        instrument code; instrument; code; symbol cusip; stock ticker; security id; scrip; epic; asset symbol;
        symbole; simbolo; symbool; kurzel; tickersymbol; ticker code; asx code; security code; symbol isin;
        symbool isin; symbole isin; simbolo isin; instrument symbol; stock code; share code; mnemonic; mnemo;
        base currency name; ticker isin; asset ticker; stock
    """,
    Column.NUMBER: """
        isin; isin code; isin number; cusip; wkn; valor; security number; isin cusip; code isin; codice isin
    """,
    Column.NAME: """
        name; description; security description; investment name; security name; company; company name; product;
        produkt; produit; producto; prodotto; investment; security; wertpapiername; wertpapier; bezeichnung;
        stock name; instrument name; holding; asset; naam; nom; nombre; libelle; titre; title; fund name
    """,
    Column.SHARES: """
        shares; quantity; qty; units; no of shares; number of shares; share quantity; quantity available;
        current quantity; position size; aantal; anzahl; stuck; stuckzahl; quantite; cantidad; quantita; quantidade;
        shares held; shares owned; unit; nominal; nominale; antal; available quantity; total quantity;
        holding quantity; units held; filled quantity; current units; number of units; position; bestand; numero;
        base amount; avail units; stuck nom; order share quantity; no of units; shares quantity; total shares
    """,
    Column.BUY_PRICE: """
        buy price; average cost basis; average cost; avg cost; average price; avg price; price paid; purchase price;
        average buy price; avg buy price; cost per share; cost share; cost price; unit cost; cost unit;
        average cost per share; average unit cost; average cost price; avg cost price; avg unit cost;
        avg cost share; average price paid; entry price; open price; average open price; unit cost price;
        price paid share; gak; einstandskurs; einstandspreis; kaufkurs; prezzo medio; prezzo medio di carico;
        prix de revient; pru; prix moyen; precio medio; precio de compra; gemiddelde prijs; cost basis per share;
        cost basis share; average purchase price; avg purchase price; avg price paid; break even price;
        buying price; bep; average cost share; average entry price; purchase price share; book price; cost per unit;
        adjusted cost share; unit cost basis; costbasisprice; average share price; ave cost; ave price; average;
        diluted cost; cost price per share; average cost currency
    """,
    Column.TOTAL_COST: """
        cost basis; cost basis total; total cost; book value market; book value; book cost; total cost basis;
        cost basis money; costbasismoney; cost basis base; invested; invested amount; amount invested;
        total invested; purchase value; buy value; einstandswert; kaufwert; einstand; valeur d achat;
        valore di carico; inkoopwaarde; cost; invested value; total purchase price; purchase cost; cost value;
        acquisition cost; adjusted cost basis; adjusted cost; original cost; principal; total book cost; net cost;
        purchase amount
    """,
    Column.SELL_PRICE: """
        sell price; selling price
    """,
    Column.PRICE: """
        price; unit price; unitprice; price share; price per share; trade price; t price; tradeprice; share price;
        execution price; koers; kurs; cours; corso; precio; prezzo; price in dollars; execution rate;
        price transaction currency; fill price; price usd; rate; prix; quote; ausfuhrungskurs; price per unit;
        average fill price; deal price; avg fill price; effective price; quotazione; precos; preco;
        order fill price; price dollars; unit price usd; price gbp; price eur
    """,
    Column.AMOUNT: """
        amount; net amount; total; proceeds; value; wert; betrag; montant; importe; importo; totaal; bedrag;
        quote amount; total amount usd; consideration; total amount; net proceeds; total usd; principal amount;
        gesamtpreis; trade value
    """,
    Column.DATE: """
        trade date; buchungstag; geschaftstag; activity date; run date; transaction date; transactiondate;
        date time; trade date time; datetime; date; tradedate; order date; execution date; datum; fecha; data; time;
        trade time; day; executed at; order execution time; created at; date of trade; purchase date; deal date;
        date acquired; open date; transaction date time
    """,
    Column.ACTION: """
        buy sell; transaction type; trans code; action; activitytype; activity type; trade type; side;
        transactiontype; transaction; type; typ; order type; b s; richtung; direction; operation; trade side; way;
        activity sub type; transaction description; activity; koop verkoop; sens; buysell; event type; trade action;
        transaktionstyp
    """,
    Column.BOUGHT: """
        shares bought
    """,
    Column.SOLD: """
        shares sold
    """,
    Column.CURRENCY: """
        currency price share; currency; price currency; currencyprimary; cost currency; instrument currency;
        transaction currency; wahrung; devise; divisa; valuta; currency code; ccy; monnaie; currency of price;
        trade currency; buchungswahrung; symbol currency; local currency
    """,
    Column.PORTFOLIO: """
        portfolio; portfolio name
    """,
    Column.ACCOUNT: """
        account name; clientaccountid; account id; account; account number; account no; account nickname;
        account type; depot; konto; brokerage account; account title; client account; securities account; rekening
    """,
    Column.EXCHANGE: """
        market code; exchange; listing exch; listing exchange; listingexchange; market; stock exchange;
        trading venue; primary exchange; exchange code; exch; reference exchange; borse; beurs; bolsa; borsa;
        bourse; handelsplatz
    """,
    Column.KIND: """
        asset type; segment; security type; securitytype; asset category; asset class; assetclass;
        asset sub category; instrument type; security kind; investment type; product type; asset classification;
        assettype; symbol type; security class; instrumenttype; class
    """,
    Column.FEES: """
        fees; fee; commission; commissions; fees comm; commissions and fees; brokerage; gebuhren; comm fee;
        ibcommission; commission usd; costs; transaction fee; total fees
    """,
    Column.TAXES: """
        taxes; steuern; tax; steuer
    """,
    Column.GROSS: """
        gross amount; bruttobetrag
    """,
    Column.PLEDGED: """
        quantity pledged margin
    """,
    Column.LENT: """
        quantity pledged loan
    """,
    Column.STATUS: """
        status; order status
    """,
    Column.LEVEL: """
        datadiscriminator; levelofdetail; level of detail
    """,
    Column.WORTH: """
        closing; schlusskurs; precio de; cloture; last traded; marktwert; wert in eur; valor en eur; market value;
        mkt val; current value; total value; market price; last price; current price; value usd; ltp; close price;
        last; closing price; slotkoers; current price share; waarde in eur; mkt value; day change; present value;
        cur val; curr value; close; previous close; previous closing price; price change; value in eur; equity;
        stop loss; total return; pnl; markprice; positionvalue; est market value
    """,
    Column.GAIN: """
        unrealized gain loss; gain loss; total gain loss dollar; unrealized p l; total gain; p l;
        unrealized gain loss chg chg; unrealized gain loss dollar; profit loss
    """,
}
_COLUMNS = {" ".join(name.split()): column for column, names in _NAMES.items() for name in names.split(";")}
_RANK = {name: rank for rank, name in enumerate(_COLUMNS)}

_SECURITIES = {Column.SYMBOL, Column.NUMBER, Column.NAME}
_QUANTITIES = {Column.SHARES, Column.BOUGHT, Column.SOLD}
_DEGIRO = frozenset({"symbol isin"})
"""A name of a column in DEGIRO's portfolio, whose shares are an "amount"."""
_LONGEST_NAME = 60
_MOST_COLUMNS = 200


def columns_of(cells: Sequence[str]) -> dict[Column, int]:
    """The place of each known column in a line of names."""
    found: dict[Column, tuple[int, int, int]] = {}
    for place, cell in enumerate(cells):
        if rank := _rank(cell):
            column, whole, order = rank
            found[column] = min(found.get(column, (2, 0, 0)), (whole, order, place))
    places = {column: place for column, (*_ranks, place) in found.items()}
    if Column.AMOUNT in places and not places.keys() & _QUANTITIES and _DEGIRO & {fold(cell) for cell in cells}:
        places[Column.SHARES] = places.pop(Column.AMOUNT)  # as in DEGIRO's portfolio
    return places


def places_of(cells: Sequence[str], column: Column) -> list[int]:
    """All places with a name of the column, the best name first."""
    ranks = [(*rank[1:], place) for place, cell in enumerate(cells) if (rank := _rank(cell)) and rank[0] is column]
    return [place for *_ranks, place in sorted(ranks)]


def _rank(cell: str) -> tuple[Column, int, int] | None:
    """The column that a name means, and the rank of the name: whole names come before names without parentheses."""
    if cell[:1].isdigit():
        return None  # a number, as most cells of a file are
    for whole, name in enumerate(_spellings(cell)):
        if name in _COLUMNS:
            return _COLUMNS[name], whole, _RANK[name]
    return None


def is_header(cells: Sequence[str]) -> bool:
    """Whether a line names the columns of a table about securities."""
    if len(cells) > _MOST_COLUMNS:
        return False
    columns = columns_of(cells)
    return bool(columns.keys() & _SECURITIES and columns.keys() & _QUANTITIES)


def is_plain(cells: Sequence[str]) -> bool:
    """Whether a line names just the columns that every portfolio has."""
    return columns_of(cells).keys() <= {Column.SYMBOL, Column.SHARES, Column.BUY_PRICE}


def recognised(cells: Sequence[str]) -> int:
    """The number of known columns in a line that can be the header of a table; else 0."""
    return len(columns_of(cells)) if is_header(cells) else 0


def fold(name: str) -> str:
    """A name of a column in lower case, with single spaces in place of other signs, and without accents."""
    bare = unicodedata.normalize("NFKD", name.strip()[:_LONGEST_NAME]).casefold()
    letters = "".join(sign for sign in bare if not unicodedata.combining(sign))
    return " ".join(re.findall(r"[a-z0-9]+", letters))


def _spellings(cell: str) -> list[str]:
    """A name as it stands, and without and within its parentheses: `Qty (Quantity)`."""
    outside, mark, rest = cell.partition("(")
    inside, _, after = rest.partition(")")
    return [fold(cell), *([fold(outside + after), fold(inside)] if mark else [])]

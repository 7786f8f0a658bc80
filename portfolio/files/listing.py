"""The stock of a row: its symbol, with the suffix of its exchange, or its security's number or name."""

from decimal import Decimal

from portfolio.files.columns import Column
from portfolio.files.content import FilePosition
from portfolio.files.numbers import LARGEST, round_number
from portfolio.files.rows import Lines, Row

_BY_CURRENCY = {
    "USD": "",
    "GBP": ".L",
    "GBX": ".L",
    "GBP.": ".L",
    "INR": ".NS",
    "CAD": ".TO",
    "AUD": ".AX",
    "CHF": ".SW",
    "SEK": ".ST",
    "DKK": ".CO",
    "NOK": ".OL",
    "HKD": ".HK",
    "JPY": ".T",
    "PLN": ".WA",
    "SGD": ".SI",
    "NZD": ".NZ",
    "ZAR": ".JO",
    "ZAC": ".JO",
    "ILS": ".TA",
    "ILA": ".TA",
    "CZK": ".PR",
    "HUF": ".BD",
    "BRL": ".SA",
    "MXN": ".MX",
}
"""Yahoo's suffix of the main exchange of a currency."""
_EURO = {
    "DE": ".DE",
    "FR": ".PA",
    "NL": ".AS",
    "IT": ".MI",
    "ES": ".MC",
    "BE": ".BR",
    "PT": ".LS",
    "FI": ".HE",
    "AT": ".VI",
    "GR": ".AT",
    "IE": ".DE",
    "LU": ".DE",
}
"""The same of the countries with the euro, by the beginning of the ISIN; funds of Ireland and Luxembourg trade on
Xetra."""
_BY_COUNTRY = {"US": "", "IN": ".NS", "GB": ".L", "AU": ".AX", "CH": ".SW", "JP": ".T", "SE": ".ST", **_EURO}


_KITE = frozenset({"instrument", "avg cost", "ltp"})
"""Names of columns in the holdings of Zerodha's Kite, which has stocks of India alone, without a currency."""


def identify(row: Row, shares: Decimal, price: Decimal | None, notes: Lines) -> FilePosition:
    """The position of a row that names a stock."""
    if price is not None and price > LARGEST:
        row.complain(f"a price of {price:,.0f} is more than {LARGEST:,}")
        price = None
    number = row.security_number()
    symbol = "" if number or not row.text(Column.SYMBOL) else _symbol(row, notes)
    return FilePosition(
        symbol,
        round_number(shares),
        None if price is None else round_number(price),
        row.line.number,
        number=number,
        name=row.text(Column.NAME)[:200],
        account=(row.text(Column.PORTFOLIO) or row.text(Column.ACCOUNT))[:100] or row.account,
        currency=row.text(Column.CURRENCY)[:8].upper(),
    )


def _symbol(row: Row, notes: Lines) -> str:
    """The row's symbol. Without an exchange, a stock of another country gets its country's suffix, and a note."""
    symbol = row.symbol()
    suffix, reason = _suffix(row)
    if not symbol or "." in symbol or "=" in symbol or row.names_exchange():
        return symbol
    if suffix:
        listed = (symbol.zfill(4) if suffix == ".HK" and symbol.isdigit() else symbol) + suffix
        notes.append(row.note(f"{symbol} is taken as {listed}, by its {reason}"))
        return listed
    if (currency := row.text(Column.CURRENCY)) == "EUR" and not row.text(Column.NUMBER).startswith("US"):
        notes.append(row.note(f"{symbol} is taken as the stock in the United States, but its price is in {currency}"))
    return symbol


def _suffix(row: Row) -> tuple[str, str]:
    """The suffix of the country's main exchange, and the reason."""
    currency = row.text(Column.CURRENCY).upper()
    country = row.text(Column.NUMBER)[:2].upper()
    if set(row.header) >= _KITE:
        return ".NS", "broker"
    if currency == "EUR":
        return _EURO.get(country, ""), "currency and ISIN"
    return (_BY_CURRENCY.get(currency, ""), "currency") if currency else (_BY_COUNTRY.get(country, ""), "ISIN")

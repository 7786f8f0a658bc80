"""The calendar and the time zone of each exchange, by Yahoo's code for the exchange."""

from typing import NamedTuple

NEVER_CLOSES = ""


class Exchange(NamedTuple):
    """The name of an exchange's calendar in exchange_calendars (`NEVER_CLOSES` for none), and its time zone."""

    calendar: str
    timezone: str


NEW_YORK = Exchange("XNYS", "America/New_York")
_ALWAYS = Exchange(NEVER_CLOSES, "UTC")
_FUTURES = Exchange("CMES", "America/Chicago")

# Currencies trade from Sunday 22:00 UTC; by this calendar from Monday 0:00, at a cost of two hours of freshness.
_CURRENCIES = Exchange("24/5", "UTC")

# The codes are `exchangeName` in Yahoo's chart answers; https://help.yahoo.com/kb/SLN2310.html lists the exchanges.
_BY_CODE = {
    Exchange("XTSE", "America/Toronto"): "TOR VAN CNQ NEO",
    Exchange("BVMF", "America/Sao_Paulo"): "SAO",
    Exchange("XMEX", "America/Mexico_City"): "MEX",
    Exchange("XBUE", "America/Argentina/Buenos_Aires"): "BUE",
    Exchange("XSGO", "America/Santiago"): "SGO",
    Exchange("XLON", "Europe/London"): "LSE IOB FGI",
    Exchange("XDUB", "Europe/Dublin"): "ISE",
    Exchange("XETR", "Europe/Berlin"): "GER",
    Exchange("XFRA", "Europe/Berlin"): "FRA BER MUN",
    Exchange("XSTU", "Europe/Berlin"): "STU",
    Exchange("XDUS", "Europe/Berlin"): "DUS",
    Exchange("XHAM", "Europe/Berlin"): "HAM HAN",
    Exchange("XPAR", "Europe/Paris"): "PAR",
    Exchange("XAMS", "Europe/Amsterdam"): "AMS",
    Exchange("XBRU", "Europe/Brussels"): "BRU",
    Exchange("XLIS", "Europe/Lisbon"): "LIS",
    Exchange("XMIL", "Europe/Rome"): "MIL",
    Exchange("XMAD", "Europe/Madrid"): "MCE",
    Exchange("XSWX", "Europe/Zurich"): "EBS",
    Exchange("XWBO", "Europe/Vienna"): "VIE",
    Exchange("XSTO", "Europe/Stockholm"): "STO",
    Exchange("XCSE", "Europe/Copenhagen"): "CPH",
    Exchange("XHEL", "Europe/Helsinki"): "HEL",
    Exchange("XOSL", "Europe/Oslo"): "OSL",
    Exchange("XICE", "Atlantic/Reykjavik"): "ICE",
    Exchange("XWAR", "Europe/Warsaw"): "WSE",
    Exchange("XPRA", "Europe/Prague"): "PRA",
    Exchange("XBUD", "Europe/Budapest"): "BUD",
    Exchange("XIST", "Europe/Istanbul"): "IST",
    Exchange("XTAE", "Asia/Jerusalem"): "TLV",
    Exchange("XSAU", "Asia/Riyadh"): "SAU",
    Exchange("XJSE", "Africa/Johannesburg"): "JNB",
    Exchange("XTKS", "Asia/Tokyo"): "JPX OSA",
    Exchange("XHKG", "Asia/Hong_Kong"): "HKG",
    Exchange("XSHG", "Asia/Shanghai"): "SHH SHZ",
    Exchange("XKRX", "Asia/Seoul"): "KSC KOE",
    Exchange("XTAI", "Asia/Taipei"): "TAI TWO",
    Exchange("XBOM", "Asia/Kolkata"): "NSI BSE",
    Exchange("XSES", "Asia/Singapore"): "SES",
    Exchange("XKLS", "Asia/Kuala_Lumpur"): "KLS",
    Exchange("XBKK", "Asia/Bangkok"): "SET",
    Exchange("XIDX", "Asia/Jakarta"): "JKT",
    Exchange("XASX", "Australia/Sydney"): "ASX",
    Exchange("XNZE", "Pacific/Auckland"): "NZE",
    _FUTURES: "CME CBT CMX NYM",
    Exchange("IEPA", "America/New_York"): "NYB",
    _CURRENCIES: "CCY",
    _ALWAYS: "CCC SAMPLE",
}

_EXCHANGES = {code: exchange for exchange, codes in _BY_CODE.items() for code in codes.split()}

EXCHANGES = frozenset([NEW_YORK, *_BY_CODE])


def exchange_of(code: str) -> Exchange:
    """The exchange with the code (`Stock.exchange`); New York's for an unknown code."""
    return _EXCHANGES.get(code, NEW_YORK)

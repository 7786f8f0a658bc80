"""The calendar and the time zone of each exchange, by Yahoo's code for the exchange."""

from typing import NamedTuple


class Exchange(NamedTuple):
    """The name of an exchange's calendar in exchange_calendars, and its time zone.

    Without a name, the exchange's hours are not known, or it `never_closes`.
    """

    calendar: str | None
    timezone: str
    never_closes: bool = False


NOT_KNOWN = Exchange(None, "UTC")
_ALWAYS = Exchange(None, "UTC", never_closes=True)
_NEW_YORK = Exchange("XNYS", "America/New_York")
_FUTURES = Exchange("CMES", "America/Chicago")

# Currencies trade from Sunday 22:00 UTC; by this calendar from Monday 0:00, at a cost of two hours of freshness.
_CURRENCIES = Exchange("24/5", "UTC")

# The codes are `exchangeName` in Yahoo's chart answers. https://help.yahoo.com/kb/SLN2310.html lists the exchanges,
# and yfinance.const.EQUITY_SCREENER_EQ_MAP the codes by country. exchange_calendars has no calendar of DFM, CAI, KUW,
# CSE, DOH, CCS and VSE (Dubai, Cairo, Kuwait, Colombo, Doha, Caracas and Ho Chi Minh City).
_BY_CODE = {
    _NEW_YORK: "NYQ NYS ASE PCX BTS CXI NMS NGM NCM NAS NAE NIM PNK OTC OBB OEM OGM OQB OQX YHD DJI SNP WCB CGI OPR",
    Exchange("XTSE", "America/Toronto"): "TOR VAN CNQ NEO",
    Exchange("BVMF", "America/Sao_Paulo"): "SAO",
    Exchange("XMEX", "America/Mexico_City"): "MEX",
    Exchange("XBUE", "America/Argentina/Buenos_Aires"): "BUE",
    Exchange("XSGO", "America/Santiago"): "SGO",
    Exchange("XBOG", "America/Bogota"): "BVC",
    Exchange("XLON", "Europe/London"): "LSE IOB FGI CXE AQS",
    Exchange("XDUB", "Europe/Dublin"): "ISE",
    Exchange("XETR", "Europe/Berlin"): "GER",
    Exchange("XFRA", "Europe/Berlin"): "FRA BER MUN",
    Exchange("XEUR", "Europe/Berlin"): "EUX",
    Exchange("XSTU", "Europe/Berlin"): "STU",
    Exchange("XDUS", "Europe/Berlin"): "DUS",
    Exchange("XHAM", "Europe/Berlin"): "HAM HAN",
    Exchange("XPAR", "Europe/Paris"): "PAR ENX",
    Exchange("XAMS", "Europe/Amsterdam"): "AMS DXE",
    Exchange("XBRU", "Europe/Brussels"): "BRU",
    Exchange("XLIS", "Europe/Lisbon"): "LIS",
    Exchange("XMIL", "Europe/Rome"): "MIL TLO MDD",
    Exchange("XMAD", "Europe/Madrid"): "MCE MAD BAR",
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
    Exchange("ASEX", "Europe/Athens"): "ATH",
    Exchange("XBSE", "Europe/Bucharest"): "BVB",
    Exchange("XTAL", "Europe/Tallinn"): "TAL",
    Exchange("XRIS", "Europe/Riga"): "RIS",
    Exchange("XLIT", "Europe/Vilnius"): "LIT",
    Exchange("XMOS", "Europe/Moscow"): "MCX",
    Exchange("XIST", "Europe/Istanbul"): "IST",
    Exchange("XTAE", "Asia/Jerusalem"): "TLV",
    Exchange("XSAU", "Asia/Riyadh"): "SAU",
    Exchange("XJSE", "Africa/Johannesburg"): "JNB",
    Exchange("XTKS", "Asia/Tokyo"): "JPX OSA FKA SAP",
    Exchange("XHKG", "Asia/Hong_Kong"): "HKG",
    Exchange("XSHG", "Asia/Shanghai"): "SHH SHZ",
    Exchange("XKRX", "Asia/Seoul"): "KSC KOE",
    Exchange("XTAI", "Asia/Taipei"): "TAI TWO",
    Exchange("XBOM", "Asia/Kolkata"): "NSI BSE",
    Exchange("XSES", "Asia/Singapore"): "SES",
    Exchange("XKLS", "Asia/Kuala_Lumpur"): "KLS",
    Exchange("XBKK", "Asia/Bangkok"): "SET",
    Exchange("XIDX", "Asia/Jakarta"): "JKT",
    Exchange("XPHS", "Asia/Manila"): "PHS PHP",
    Exchange("XKAR", "Asia/Karachi"): "KAR",
    Exchange("XASX", "Australia/Sydney"): "ASX CXA",
    Exchange("XNZE", "Pacific/Auckland"): "NZE",
    _FUTURES: "CME CBT CMX NYM",
    Exchange("IEPA", "America/New_York"): "NYB",
    _CURRENCIES: "CCY",
    _ALWAYS: "CCC SAMPLE",
}

_EXCHANGES = {code: exchange for exchange, codes in _BY_CODE.items() for code in codes.split()}

EXCHANGES = frozenset(_BY_CODE)


def exchange_of(code: str) -> Exchange:
    """The exchange with the code (`Stock.exchange`); `NOT_KNOWN` for an unknown code."""
    return _EXCHANGES.get(code, NOT_KNOWN)

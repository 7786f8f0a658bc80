"""Translates the symbols of brokers and other programs into Yahoo Finance's: `NYSE:BRK.B` into `BRK-B`."""

import re

from market.symbols import InvalidSymbol, parse_symbol

# Yahoo's suffix of each exchange, with the names that others give to it: Google Finance, ISO 10383 (market identifier
# codes), Interactive Brokers, DEGIRO, EOD Historical Data and the exchanges themselves. Yahoo's suffixes are listed at
# https://help.yahoo.com/kb/SLN2310.html
_EXCHANGES = {
    "": "US USA NYSE NYQ NYS XNYS NSY NASDAQ NASD NAS NDQ NMS NGM NCM XNAS XNGS XNCM XNMS ISLAND AMEX NYSEAMERICAN "
    "NYSEMKT ASE XASE NYSEARCA ARCA ARCX PCX BATS BZX BATY EDGX XCBO IEX OTC OTCMKTS OTCQB OTCQX OTCBB PINK PNK PINX "
    "OTCM OOTC",
    ".L": "LON LSE XLON LSEETF LSEIOB1 LSIN AIM AIMX",
    ".DE": "ETR XETRA XETR XET IBIS IBIS2 GER",
    ".F": "FRA FWB FWB2 XFRA FSE",
    ".BE": "BER XBER",
    ".SG": "STU SWB SWB2 XSTU EUWAX",
    ".MU": "MUN XMUN GETTEX GETTEX2",
    ".HM": "HAM XHAM",
    ".HA": "HAN XHAN",
    ".DU": "DUS XDUS",
    ".PA": "EPA PAR XPAR SBF",
    ".AS": "AMS XAMS AEB EAM",
    ".BR": "EBR BRU XBRU EBB ENEXT.BE",
    ".LS": "ELI LIS XLIS BVL",
    ".IR": "ISE DUB XDUB XMSM",
    ".MI": "BIT MIL XMIL BVME BVME.ETF MTA MTAA ETFP ETLX",
    ".MC": "BME MCE MAD XMAD",
    ".SW": "SWX VTX EBS XSWX XVTX SIX SWISS",
    ".VI": "VIE XWBO WBO WBAG",
    ".ST": "STO XSTO SFB OMXS OMX",
    ".CO": "CPH XCSE OMXC",
    ".HE": "HEL XHEL HEX OMXH",
    ".OL": "OSL XOSL OSE OBX",
    ".IC": "XICE",
    ".WA": "WSE XWAR GPW WAR",
    ".PR": "PRA XPRA PSE",
    ".BD": "BUD XBUD BUX",
    ".AT": "ATH ASEX XATH",
    ".RO": "BVB XBSE",
    ".TL": "TAL XTAL",
    ".RG": "RIS XRIS",
    ".VS": "LIT XLIT",
    ".IS": "IST XIST BIST",
    ".TA": "TLV TASE XTAE",
    ".SR": "TADAWUL XSAU SAU",
    ".JO": "JSE XJSE JNB",
    ".TO": "TSE TSX XTSE TOR",
    ".V": "CVE TSXV TSX-V XTSX VENTURE",
    ".CN": "CSE CNSX XCNQ CNQ PURE",
    ".NE": "NEO NEOE XNEO",
    ".SA": "BVMF BOVESPA B3 SAO",
    ".MX": "BMV XMEX MEXI MEX",
    ".BA": "BCBA XBUE BUE",
    ".SN": "XSGO SGO BCS",
    ".AX": "ASX XASX",
    ".NZ": "NZE NZX XNZE",
    ".T": "TYO XTKS JPX TSEJ TKS",
    ".HK": "HKG HKEX SEHK XHKG HKSE",
    ".SS": "SHA SSE SHH XSHG SEHKNTL",
    ".SZ": "SHE SZSE SHZ XSHE SEHKSZSE",
    ".KS": "KRX KOSPI XKRX KSC KOREA",
    ".KQ": "KOSDAQ XKOS KOE",
    ".TW": "TPE TWSE XTAI TAI",
    ".TWO": "TPEX ROCO",
    ".NS": "NSE NSI XNSE",
    ".BO": "BOM BSE XBOM",
    ".SI": "SGX XSES SES",
    ".KL": "KLSE XKLS MYX",
    ".BK": "BKK SET XBKK",
    ".JK": "IDX XIDX JKT JKSE",
}
_SUFFIX = {name: suffix for suffix, names in _EXCHANGES.items() for name in names.split()}

# Bloomberg writes a code of two letters after a space: `VOD LN`, `AAPL US Equity`.
_BLOOMBERG = {
    **dict.fromkeys(("US", "UN", "UW", "UQ", "UR", "UA", "UP", "UV"), ""),
    "LN": ".L",
    "GY": ".DE",
    "GR": ".DE",
    "GF": ".F",
    "GS": ".SG",
    "GM": ".MU",
    "GH": ".HM",
    "GD": ".DU",
    "FP": ".PA",
    "NA": ".AS",
    "BB": ".BR",
    "PL": ".LS",
    "ID": ".IR",
    "IM": ".MI",
    "SM": ".MC",
    "SQ": ".MC",
    "SW": ".SW",
    "SE": ".SW",
    "VX": ".SW",
    "AV": ".VI",
    "SS": ".ST",
    "DC": ".CO",
    "FH": ".HE",
    "NO": ".OL",
    "PW": ".WA",
    "CP": ".PR",
    "HB": ".BD",
    "GA": ".AT",
    "TI": ".IS",
    "IT": ".TA",
    "SJ": ".JO",
    "CN": ".TO",
    "CT": ".TO",
    "CV": ".V",
    "BZ": ".SA",
    "BS": ".SA",
    "MM": ".MX",
    "AU": ".AX",
    "AT": ".AX",
    "NZ": ".NZ",
    "JP": ".T",
    "JT": ".T",
    "HK": ".HK",
    "CG": ".SS",
    "CS": ".SZ",
    "KS": ".KS",
    "KQ": ".KQ",
    "TT": ".TW",
    "IN": ".NS",
    "IS": ".NS",
    "IB": ".BO",
    "SP": ".SI",
    "MK": ".KL",
    "TB": ".BK",
    "IJ": ".JK",
    "AB": ".SR",
}

_BEFORE_COLON = re.compile(r"([^:]+?)\s*:\s*([^:]+)")
_NEW_YORK_NAME = re.compile(r"(NYSE|NASDAQ|AMEX|OTC|BATS|CBOE)\b.*")
_TRADING_212 = re.compile(r"([A-Z0-9.]+)_US_EQ")
_NSE_SERIES = re.compile(r"(.+)-EQ")
_SUFFIXED = re.compile(r"(.+)(\.[A-Z]{1,3})")
# After / or a space or a point: a class of shares, a series of preferred shares, warrants, units, rights.
_CLASS = re.compile(r"([A-Z0-9]+)[/ .]([A-Z])")
_PREFERRED = re.compile(r"([A-Z]+)[/ .-]PR?[/ .-]?([A-Z])")
_WARRANT = re.compile(r"([A-Z]+)[/ .-](?:WS|WT)")
_UNIT = re.compile(r"([A-Z]+)[/ .-](?:UN|U)")
# Some brokers write the classes of these companies without a mark. No other rule finds them.
_JOINED = {"BRKA": "BRK-A", "BRKB": "BRK-B", "BFA": "BF-A", "BFB": "BF-B"}


def translate_symbol(text: str, exchange: str = "") -> str:
    """The Yahoo symbol for a symbol as another program writes it. Raises InvalidSymbol.

    `exchange` is the name of the stock's exchange; unknown names are ignored.
    """
    symbol = " ".join(text.upper().split()).removesuffix(" EQUITY")
    suffix = exchange_suffix(exchange)
    if found := _BEFORE_COLON.fullmatch(symbol):
        symbol, suffix = _split_at_colon(text, *found.groups())
    elif (parts := symbol.rpartition(" "))[0] and parts[2] in _BLOOMBERG:
        symbol, suffix = parts[0], _BLOOMBERG[parts[2]]
    elif found := _TRADING_212.fullmatch(symbol):
        symbol, suffix = found[1], ""
    elif found := _NSE_SERIES.fullmatch(symbol):
        symbol, suffix = found[1], suffix or ".NS"
    elif (parts := symbol.rpartition("."))[0] and parts[2] in _SUFFIX and f".{parts[2]}" not in _EXCHANGES:
        symbol, suffix = parts[0], _SUFFIX[parts[2]]
    if (found := _SUFFIXED.fullmatch(symbol)) and found[2] in _EXCHANGES and not (suffix and found[2] == ".V"):
        symbol, suffix = found[1], found[2]
    if suffix == ".HK" and symbol.isdigit():
        symbol = symbol.zfill(4)
    try:
        return parse_symbol(_yahoo_class(symbol) + (suffix or ""))
    except InvalidSymbol:
        parse_symbol(text)  # names the text as it stands
        raise


def is_translatable(text: str) -> bool:
    """Whether a text can be a symbol in any of the spellings."""
    try:
        translate_symbol(text)
    except InvalidSymbol:
        return False
    return True


def exchange_suffix(name: str) -> str | None:
    """Yahoo's suffix for an exchange: `.L` for `LSE`, empty in the United States; None for an unknown name."""
    key = name.strip().upper()
    if _NEW_YORK_NAME.fullmatch(key):
        return ""
    return _SUFFIX.get(key)


def _split_at_colon(text: str, left: str, right: str) -> tuple[str, str]:
    """`NYSE:BRK.B`, or `VOD:LSE` as some programs write it."""
    for name, symbol in ((left, right), (right, left)):
        if (suffix := exchange_suffix(name)) is not None:
            return symbol, suffix
    raise InvalidSymbol(f"{text.strip()[:40]!r} names the exchange {left[:20]!r}, which is unknown.")


def _yahoo_class(symbol: str) -> str:
    for form, marked in ((_CLASS, "-"), (_PREFERRED, "-P"), (_WARRANT, "-WT"), (_UNIT, "-UN")):
        if found := form.fullmatch(symbol):
            return f"{found[1]}{marked}{found[2] if found.re.groups == 2 else ''}"
    return _JOINED.get(symbol, symbol)

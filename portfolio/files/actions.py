"""The effect of a transaction on the shares, by the words of brokers in several languages.

The words come from the files in `tests/portfolio/files`, and from the importers named there.
"""

import re
from enum import Enum


class Action(Enum):
    BUY = "buy"
    SELL = "sell"
    MOVE = "move"
    """Shares come without a price, or go if their number is negative: a transfer, a merger, a spin-off."""
    SPLIT = "split"
    """The line has the shares that a split adds, or takes away if their number is negative."""
    SPLIT_RATIO = "split ratio"
    """The line has the shares that one share becomes."""
    SPLIT_TOTAL = "split total"
    """The line has all shares after the split."""
    NONE = "none"
    """Cash, dividends, fees, options: the shares stay the same."""
    UNKNOWN = "unknown"


# The first pattern that is found decides. Fidelity writes sentences, with names of companies in them, so words of
# purchases and sales count at the beginning first.
_WORDS = (
    (
        Action.NONE,
        r"^(you )?(buy|sell|bought|sold) (to (open|close|cover)|short)|^[bs]t[oc]$|^o(exp|asgn|excs|ca|cc)$",
    ),
    (Action.NONE, r"split \(?close|core account|^sweep|^liability$|^item$"),
    (Action.SPLIT_TOTAL, r"split \(?open"),
    (Action.UNKNOWN, r"cancel|^cxl"),
    (
        Action.BUY,
        r"^(you )?(buy|bought|purchased?)\b|^reinvestment\b|^reinvest shares|^(market|limit|stop)( limit)? buy",
    ),
    (Action.SELL, r"^(you )?(sell|sold|sale)\b|^(market|limit|stop)( limit)? sell"),
    (Action.MOVE, r"^transferred (from|to)|^journaled|^conversion|^transfer \((incoming|outgoing)\)"),
    (Action.MOVE, r"spin ?off|^soff$|merger|^mrgs$|name change|^sxch$|acat (receive|deliver)"),
    (
        Action.SPLIT,
        r"split|^spl$|^spr$|consolidation|consold|^bonus$|stock div dist|stock dividend|stock distribution",
    ),
    (Action.SPLIT, r"^distribution [^$]*\((cash|margin)\)$|scrip"),
    (Action.BUY, r"dividend reinvest|\bdrip\b|\bdrp\b|^rei$"),
    (
        Action.NONE,
        r"dividend|\bdiv\b|^[cm]div$|cap(ital)? gain|interest|zinsen|^m?int$|\bfees?\b|\btax(es)?\b|steuer|gebühr"
        r"|deposit|withdraw|einlage|entnahme|removal|\bach\b|\bwire\b|cash|currency|forex|\bfx\b|credit|debit|coupon"
        r"|charge|adjust|lending|\bcard\b|^gold$|^slip$|^mtch$|^rtp$|fund(s|ing)|contribution|\bpayment|expir|assigned",
    ),
    (
        Action.SELL,
        r"verkauf|verkoop|\bvente\b|\bvend(a|ita)\b|\bventa\b|auslieferung|outbound|transfer[_ ]\(?out|^acato$"
        r"|remove[_ ]?holding|^sld$|^s$|\bsälj|\bsalg\b|\(ausgang\)|conversion[_ ]?out|\bsell\b",
    ),
    (
        Action.BUY,
        r"\bkauf\b|\bkoop\b|aankoop|\bachat\b|\bcompra\b|acquisto|einlieferung|inbound|transfer[_ ]\(?in\b|^bot$|^b$"
        r"|add[_ ]?holding|opening[_ ]?balance|savings plan|\bköp|\bkjøp|\bkøb|\(eingang\)|merge[_ ]?buy"
        r"|equity rights|conversion[_ ]?in|\bbuy\b",
    ),
    (
        Action.MOVE,
        r"(security|internal) transfer|transferred (from|to)|journal|stock plan activity|^acati$|^rec$|conversion"
        r"|exchange (in|out)",
    ),
)
_ACTIONS = [(action, re.compile(pattern)) for action, pattern in _WORDS]
_LONGEST = 120

TRADES = frozenset(Action) - {Action.NONE, Action.UNKNOWN}
"""The actions that change shares."""


def action_of(text: str) -> Action:
    """The action that a cell names; UNKNOWN for any other text."""
    words = " ".join(text[:_LONGEST].casefold().replace("-", " ").split())
    return next((action for action, pattern in _ACTIONS if pattern.search(words)), Action.UNKNOWN)

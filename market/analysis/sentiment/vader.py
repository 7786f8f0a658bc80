"""How headlines sound, by vaderSentiment, and what a fixed rule makes of that: BUY, HOLD or SELL.

VADER knows words of social media, and nothing of companies. The rule sums up how headlines sound; it does not know
what a price will do, and nothing is traded by it.
"""

import math
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

from market.recommendation import Action, Contribution, Recommendation

VERSION = "vader/1"
"""Changes whenever the same headlines may give another answer."""
DOUBT = 2
"""So many headlines that say nothing are counted in: a few headlines alone are no strong evidence."""
THRESHOLD = 0.2
"""What the score has to reach, up or down, for anything but HOLD."""


def sentiment_of(title: str) -> float:
    """How a headline sounds: -1 (as bad as can be) to 1 (as good), VADER's compound score. The same at all times."""
    return float(_analyzer().polarity_scores(title)["compound"])


def score_of(sentiments: Sequence[float]) -> float:
    """The mean of how headlines sound, with DOUBT that say nothing among them: -1 to 1, and 0 without any."""
    return math.fsum(sentiments) / (len(sentiments) + DOUBT)


def recommend_by_headlines(headlines: Sequence[tuple[str, float]]) -> Recommendation:
    """What headlines (title and how it sounds; at least one) speak for.

    The confidence of BUY and SELL is 0 at the threshold and 1 at a score of 1 or -1. That of HOLD is 0 there too, and
    rises the nearer the score is to 0 and the more headlines there are. One headline that sounds better never speaks
    for selling; if all said the opposite, so would the answer; and their order does not matter.
    """
    score, weight = score_of([sentiment for _, sentiment in headlines]), 1 / (len(headlines) + DOUBT)
    if abs(score) >= THRESHOLD:
        action = Action.BUY if score > 0 else Action.SELL
        confidence = (abs(score) - THRESHOLD) / (1 - THRESHOLD)
    else:
        action = Action.HOLD
        confidence = (1 - abs(score) / THRESHOLD) * len(headlines) * weight
    contributions = tuple(
        Contribution("headline", sentiment, sentiment, weight, title) for title, sentiment in headlines
    )
    return Recommendation(action, round(min(max(confidence, 0.0), 1.0), 4), contributions, VERSION)


@cache
def _analyzer() -> Any:
    """Loaded when it is needed first: its lexicon takes a moment, and most processes score nothing."""
    return import_module("vaderSentiment.vaderSentiment").SentimentIntensityAnalyzer()

"""The sentiment of headlines by vaderSentiment, and a fixed rule for BUY, HOLD or SELL.

VADER knows words of social media, and nothing of companies. The rule adds up the sentiment of headlines. The rule does
not predict prices, and triggers no trades.
"""

import math
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

from market.recommendation import Action, Contribution, Recommendation

VERSION = "vader/1"
"""Changes whenever the same headlines may lead to another recommendation."""
DOUBT = 2
"""The number of neutral headlines added to the count: a few headlines alone are weak evidence."""
THRESHOLD = 0.2
"""The least absolute score for BUY or SELL."""


def sentiment_of(title: str) -> float:
    """The sentiment of a headline from -1 (worst) to 1 (best): VADER's compound score, which is deterministic."""
    return float(_analyzer().polarity_scores(title)["compound"])


def score_of(sentiments: Sequence[float]) -> float:
    """The mean sentiment of headlines with DOUBT neutral headlines added: -1 to 1, and 0 without headlines."""
    return math.fsum(sentiments) / (len(sentiments) + DOUBT)


def recommend_by_headlines(headlines: Sequence[tuple[str, float]]) -> Recommendation:
    """Recommend an action from headlines (title and sentiment; at least one).

    The confidence of BUY and SELL is 0 at the threshold and 1 at a score of 1 or -1. The confidence of HOLD is 0 at
    the threshold too, and rises as the score nears 0 and as headlines are added. A headline that sounds better never
    speaks for selling. Inverting every headline inverts the recommendation, and the order of headlines does not
    matter.
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
    """VADER's analyser, loaded on first use: its lexicon takes a moment, and most processes score nothing."""
    return import_module("vaderSentiment.vaderSentiment").SentimentIntensityAnalyzer()

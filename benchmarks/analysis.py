"""Technical analyses, against bare `ta` calls of the same indicators in the same run.

1,000 stocks with 504 bars each. Ours reads the bars from the database, adjusts them, computes, recommends and stores,
in a transaction a stock, as an analysis job does; the life of the job is left out. The others have their frames in
memory, compute all columns and keep the last value of each: one with every indicator of `ta`, one without its ATR, a
loop of Python that takes more than half of the time and that ours does in another way.
"""

import os
import time
from collections.abc import Callable
from datetime import date
from functools import partial

# Without DEBUG, which makes Django keep every statement in memory.
os.environ |= {"DJANGO_DEBUG": "0", "DJANGO_SECRET_KEY": "benchmark " * 6, "DJANGO_ALLOWED_HOSTS": "127.0.0.1"}

import django

django.setup()

import numpy as np
import pandas as pd
from django.core.management import call_command
from django.db import connection, transaction
from ta.momentum import RSIIndicator
from ta.trend import MACD, EMAIndicator, SMAIndicator
from ta.volatility import AverageTrueRange, BollingerBands

from benchmarks.options import Options
from benchmarks.report import Spread, publish
from market.analysis.technical.analyse import analyse
from market.models import Analysis, Stock
from market.prices.store import upsert_bars
from market.sources.base import Bar

LAST_DAY = date(2026, 11, 20)


def main() -> None:
    options = Options("analysis", __doc__)
    options.add_size("runs", "repetitions", 5, smallest=1)
    options.add_size("stocks", "stocks", 1000, smallest=2)
    options.add_size("bars", "bars of each", 504, smallest=60)
    arguments = options.parse()
    call_command("migrate", verbosity=0)
    frames = make_frames(arguments.stocks, arguments.bars)
    stocks = store_frames(frames)
    figures: dict[str, list[float]] = {}
    for run in range(arguments.runs + 1):
        ours, bare, without_atr = measure(stocks, frames)
        if run == 0:  # everything is slower the first time
            continue
        for name, value in {
            "ours, ms a stock": 1000 * ours / len(stocks),
            "bare ta, ms a stock": 1000 * bare / len(stocks),
            "bare ta without ATR, ms a stock": 1000 * without_atr / len(stocks),
            "ours against bare ta": ours / bare,
            "ours against bare ta without ATR": ours / without_atr,
        }.items():
            figures.setdefault(name, []).append(value)
    publish(
        f"analysis-{connection.vendor}",
        f"Technical analyses of {len(stocks)} stocks with {arguments.bars} bars each ({connection.vendor})",
        "milliseconds, and their ratio",
        {name: Spread.of(values) for name, values in figures.items()},
    )


def make_frames(stocks: int, bars: int) -> list[pd.DataFrame]:
    """Prices that move by chance, the same every time."""
    chance = np.random.default_rng(7)
    index = pd.bdate_range(end=LAST_DAY, periods=bars)
    frames = []
    for _ in range(stocks):
        close = 100 * np.exp(np.cumsum(chance.normal(0, 0.02, bars)))
        high, low = close * (1 + chance.random(bars) / 50), close * (1 - chance.random(bars) / 50)
        frames.append(pd.DataFrame({"high": high, "low": low, "close": close}, index=index))
    return frames


def store_frames(frames: list[pd.DataFrame]) -> list[Stock]:
    """Stocks with these bars, as adjusted prices of ones that are a tenth higher."""
    stocks = Stock.objects.bulk_create(Stock(symbol=f"ST{number}") for number in range(len(frames)))
    days = [day.date() for day in pd.to_datetime(frames[0].index)]
    for stock, frame in zip(stocks, frames, strict=True):
        rows = zip(days, *(frame[name].tolist() for name in frame.columns), strict=True)
        upsert_bars(
            stock, [Bar(day, None, high * 1.1, low * 1.1, close * 1.1, close, 1) for day, high, low, close in rows]
        )
    return stocks


def measure(stocks: list[Stock], frames: list[pd.DataFrame]) -> list[float]:
    """Seconds that our analyses take, and bare calls with and without ATR; in turns, as machines have slow moments."""
    Analysis.objects.all().delete()
    took = [0.0, 0.0, 0.0]
    for stock, frame in zip(stocks, frames, strict=True):
        ways: list[Callable[[], object]] = [
            partial(store, stock),
            partial(compute, frame),
            partial(compute_without_atr, frame),
        ]
        for number, way in enumerate(ways):
            began = time.perf_counter()
            way()
            took[number] += time.perf_counter() - began
    assert Analysis.objects.count() == len(stocks)
    return took


def store(stock: Stock) -> None:
    analysis = analyse(stock)
    assert analysis is not None
    with transaction.atomic():
        analysis.save()


def compute(frame: pd.DataFrame) -> dict[str, float]:
    """All of them."""
    atr = AverageTrueRange(frame["high"], frame["low"], frame["close"]).average_true_range()
    return {"atr_14": float(atr.iloc[-1]), **compute_without_atr(frame)}


def compute_without_atr(frame: pd.DataFrame) -> dict[str, float]:
    """The last value of each indicator, as the documentation of `ta` shows how."""
    close = frame["close"]
    macd, bands = MACD(close), BollingerBands(close)
    columns = {
        **{f"sma_{days}": SMAIndicator(close, days).sma_indicator() for days in (20, 50, 200)},
        **{f"ema_{days}": EMAIndicator(close, days).ema_indicator() for days in (12, 26)},
        "rsi_14": RSIIndicator(close).rsi(),
        "macd": macd.macd(),
        "macd_signal": macd.macd_signal(),
        "macd_histogram": macd.macd_diff(),
        "bollinger_upper": bands.bollinger_hband(),
        "bollinger_middle": bands.bollinger_mavg(),
        "bollinger_lower": bands.bollinger_lband(),
        "volatility_20": np.log(close).diff().rolling(20).std() * 252**0.5,
    }
    return {name: float(column.iloc[-1]) for name, column in columns.items()}


if __name__ == "__main__":
    main()

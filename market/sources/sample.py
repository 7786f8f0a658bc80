"""Invented prices from `fixtures/sample/`, for a demonstration without a network. Never real data."""

import csv
from datetime import date, timedelta
from pathlib import Path

from django.utils import timezone

from market.sources.base import Allowance, Bar, History, SymbolNotFound

SAMPLE_FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "sample"


class SampleSource:
    """Bars from `fixtures/sample/SYMBOL.csv`, dated so that the newest bar is today's or the last weekday's."""

    name = "sample"
    label = "Sample data"

    def __init__(self, _allowance: Allowance | None = None, folder: Path = SAMPLE_FOLDER) -> None:
        self.folder = folder

    def history(self, symbol: str, start: date, end: date | None = None) -> History:
        path = self.folder / f"{symbol}.csv"
        if not path.is_file():
            raise SymbolNotFound(f"{self.label} has no data for {symbol}")
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
        today = timezone.now().date()
        dated = zip(_weekdays_until(today, len(rows)), rows, strict=True)
        bars = [_bar(day, row) for day, row in dated if start <= day <= (end or today)]
        if not bars:
            raise SymbolNotFound(f"{self.label} has no data for {symbol} from {start} to {end or today}")
        return History(symbol, self.name, bars, name=f"{symbol} (sample)", exchange="SAMPLE", currency="USD")


def _weekdays_until(last: date, count: int) -> list[date]:
    days: list[date] = []
    day = last
    while len(days) < count:
        if day.weekday() < 5:
            days.append(day)
        day -= timedelta(days=1)
    return days[::-1]


def _bar(day: date, row: dict[str, str]) -> Bar:
    return Bar(
        date=day,
        open=float(row["open"]),
        high=float(row["high"]),
        low=float(row["low"]),
        close=float(row["close"]),
        adj_close=float(row["close"]),
        volume=int(row["volume"]),
    )

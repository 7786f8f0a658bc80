"""What a batch is compared with: yfinance alone, in a process of its own. Prints seconds and seconds of CPU as JSON.

`python -m benchmarks.bare_fetch sequential|download|pool THREADS SYMBOL…`, once for each line on standard input.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import yfinance
from curl_cffi.requests import Response, Session

DAYS = 30


def main() -> None:
    method, threads = sys.argv[1], int(sys.argv[2])
    yfinance.set_tz_cache_location(os.environ["YFINANCE_CACHE"])
    yfinance.config.debug.hide_exceptions = False
    yfinance.config.network.proxy = os.environ["YAHOO_PROXY"]
    trusted: Any = os.environ["YAHOO_CA_BUNDLE"]  # declared as a bool
    session: Session[Response] = Session(impersonate="chrome", proxy=os.environ["YAHOO_PROXY"], verify=trusted)
    start = (datetime.now(tz=UTC) - timedelta(days=DAYS)).date()

    def history(symbol: str) -> int:
        ticker = yfinance.Ticker(symbol, session=session)
        return len(ticker.history(start=start, auto_adjust=False, actions=False, timeout=30))

    def sequential(symbols: Sequence[str]) -> int:
        return sum(map(history, symbols))

    def pool(symbols: Sequence[str]) -> int:
        with ThreadPoolExecutor(threads) as executor:
            return sum(executor.map(history, symbols))

    def download(symbols: Sequence[str]) -> int:
        frame = yfinance.download(
            list(symbols), start=start, auto_adjust=False, progress=False, session=session, timeout=30
        )
        return int(frame["Close"].count().sum())

    methods: dict[str, Callable[[Sequence[str]], int]] = {
        "sequential": sequential,
        "pool": pool,
        "download": download,
    }
    history("WARMUP")  # the cookie, the crumb, and imports that come late
    for line in sys.stdin:
        symbols = line.split()
        began, cpu = time.perf_counter(), time.process_time()
        bars = methods[method](symbols)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        print(json.dumps({"seconds": seconds, "cpu": cpu, "bars": bars}), flush=True)


if __name__ == "__main__":
    main()

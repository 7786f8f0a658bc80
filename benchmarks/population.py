"""A database as it is after a week of much work, made by the server itself: a million jobs take two minutes.

PostgreSQL alone. Users and stocks are of unequal popularity; 95 % of the jobs completed, and of the newest hundredth
a fifth has not ended.
"""

import random
import string
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from market.models import Stock
from portfolio.models import Holding, Portfolio
from tasks.models import Worker

USERS = 1_000
STOCKS = 3_000
HOLDINGS = 25
"""Of each user."""
WORKERS = 8
WEEK = timedelta(days=7)

# What a job is by a random number r below 1: trigger, type, queue, priorities.
_KINDS = (
    (0.55, "user_login", "stock_fetch", "foreground", 1, 2),
    (0.63, "user_request", "stock_fetch", "foreground", 3, 3),
    (0.80, "scheduled_update", "stock_batch_fetch", "background_fetch", 5, 6),
    (0.96, "background_analysis", "stock_analysis", "background_analysis", 7, 8),
    (0.999, "background_analysis", "stock_research", "background_analysis", 8, 10),
    (1.0, "maintenance", "stock_fetch", "background_fetch", 4, 6),
)

_JOBS = """
INSERT INTO tasks_job (
    id, job_type, subtype, trigger, user_id, symbol, parameters, unique_key, priority, priority_reason, queue, status,
    attempt, retries, last_seq, worker_id, created_at, queued_at, started_at, finished_at, heartbeat_at, run_at,
    dispatched_at, dispatched_for_id, outcome, result, error
)
SELECT
    id, job_type, '', trigger, user_id, symbol,
    CASE WHEN symbol = '' THEN jsonb_build_object('symbols', batch, 'days', 30, 'source', 'yahoo_finance', 'ahead', 5)
         ELSE jsonb_build_object('symbol', symbol, 'days', 30, 'source', 'yahoo_finance', 'data_age_minutes', 55,
                                 'triggered_by', trigger) END,
    job_type || ':' || symbol || ':' || n, priority,
    jsonb_build_object(
        'trigger', trigger, 'rule', priority, 'queue', queue, 'band', '[1, 3]'::jsonb, 'base', priority,
        'score', round(luck::numeric, 4), 'wish', 0, 'moved', 0, 'factors', jsonb_build_object(
            'user_activity', '{"value": 0.5, "weight": 0.3}'::jsonb,
            'data_age', '{"value": 0.9, "weight": 0.3}'::jsonb,
            'portfolio_value', '{"value": 0.7, "weight": 0.2}'::jsonb,
            'market_volatility', '{"value": null, "weight": 0.2}'::jsonb)),
    queue, status, (status <> 'pending')::int, 0, 4,
    CASE WHEN status IN ('running', 'completed', 'failed')
         THEN split_part(queue, '_', 1) || '@here:' || 1 + n %% %(workers)s ELSE '' END,
    created_at,
    CASE WHEN status <> 'pending' THEN queued_at END,
    CASE WHEN status IN ('running', 'completed', 'failed') THEN started_at END,
    CASE WHEN status IN ('completed', 'failed') THEN least(started_at + ran, %(now)s)
         WHEN status IN ('expired', 'cancelled') THEN least(queued_at + ran, %(now)s) END,
    CASE WHEN status = 'running' THEN %(now)s END, NULL, queued_at, user_id,
    CASE WHEN status <> 'completed' THEN '' WHEN luck < 0.5 THEN 'updated' WHEN luck < 0.99 THEN 'unchanged'
         ELSE 'partial' END,
    CASE WHEN status = 'completed' THEN jsonb_build_object(
        'symbol', symbol, 'source', 'yahoo_finance', 'days_fetched', 21, 'records_stored', (luck < 0.5)::int * 21,
        'requests', 1, 'latest_bar_before', '2026-11-24', 'latest_bar', '2026-11-25') END,
    CASE status
        WHEN 'failed' THEN (ARRAY['Yahoo Finance answered 503', 'Yahoo Finance has no data', 'No answer within 30 s',
            'Yahoo Finance sent no JSON', 'The answer is longer than 16 MiB', 'No source knows it',
            'The connection was refused'])[1 + n %% 7] || CASE WHEN symbol = '' THEN '' ELSE ' for ' || symbol END
        WHEN 'expired' THEN 'waited longer than its queue allows'
        WHEN 'cancelled' THEN 'cancelled by admin'
        ELSE '' END
FROM (
    SELECT
        *, CASE WHEN job_type = 'stock_batch_fetch' THEN '' ELSE popular END AS symbol,
        created_at + interval '10 ms' AS queued_at,
        created_at + interval '10 ms' + interval '2 s' * luck * luck AS started_at,
        interval '0.2 s' + interval '20 s' * chance * chance AS ran
    FROM (
        SELECT
            n, gen_random_uuid() AS id, random() AS luck, random() AS chance,
            %(now)s - %(week)s * ((%(jobs)s - n)::float8 / %(jobs)s) AS created_at,
            (%(symbols)s::text[])[1 + floor(%(stocks)s * random() ^ 2)::int] AS popular,
            (%(symbols)s::text[])[1 + n %% 2900 : 50 + n %% 2900] AS batch,
            CASE WHEN kind = 1 THEN somebody[1 + n / 25 %% 997]
                 WHEN kind NOT IN (3, 6) THEN somebody[1 + floor(997 * random())::int] END AS user_id,
            (%(triggers)s::text[])[kind] AS trigger, (%(types)s::text[])[kind] AS job_type,
            (%(queues)s::text[])[kind] AS queue,
            (%(first)s::int[])[kind] + n %% ((%(last)s::int[])[kind] - (%(first)s::int[])[kind] + 1) AS priority,
            CASE WHEN n > %(jobs)s * 0.99 AND n %% 5 = 0
                 THEN (ARRAY['pending', 'queued', 'running'])[1 + (n %% 4 = 0)::int + (n %% 500 = 0)::int]
                 ELSE (%(statuses)s::text[])[width_bucket(random(), %(ends)s::float8[])]
            END AS status
        FROM (
            SELECT n, width_bucket(random(), %(shares)s::float8[]) AS kind, %(somebody)s::int[] AS somebody
            FROM generate_series(1, %(jobs)s) AS n
        ) AS numbered
    ) AS drawn
) AS described
ORDER BY n
"""
_REQUESTS = """
INSERT INTO tasks_jobrequest (job_id, user_id, trigger, created_at)
SELECT id, user_id, trigger, created_at
FROM (
    SELECT id, user_id, trigger, created_at FROM tasks_job
    UNION ALL
    SELECT id, user_id, 'user_login', created_at + interval '5 ms'
    FROM (SELECT id, created_at, trigger, lead(user_id, 25) OVER (ORDER BY created_at) AS user_id FROM tasks_job) AS j
    WHERE user_id IS NOT NULL AND trigger = 'user_login' AND random() < 0.15
) AS wishes
ORDER BY created_at
"""
_LOGINS = """
INSERT INTO portfolio_login (at, stocks, stale)
SELECT %(now)s - %(week)s * n / (%(jobs)s / 10), 25, (n %% 10 = 0)::int FROM generate_series(1, %(jobs)s / 10) AS n
"""
_EVENTS = """
INSERT INTO tasks_jobevent (job_id, seq, event, payload, created_at, published_at, error)
SELECT
    id, seq, event, jsonb_build_object('state', event, 'priority', priority, 'queue', queue, 'attempt', attempt,
                                       'worker_id', worker_id, 'result', CASE WHEN seq = 4 THEN result END),
    at, at + interval '20 ms', ''
FROM (SELECT * FROM tasks_job ORDER BY created_at DESC LIMIT %(jobs)s / 10) AS job,
     LATERAL (VALUES (1, 'created', created_at), (2, 'queued', queued_at), (3, 'started', started_at),
                     (4, CASE WHEN finished_at IS NOT NULL THEN status END, finished_at)) AS step (seq, event, at)
WHERE at IS NOT NULL
ORDER BY at
"""
_UNPUBLISHED = "UPDATE tasks_jobevent SET published_at = NULL WHERE id > (SELECT max(id) - 500 FROM tasks_jobevent)"
_SET_ASIDE = """
UPDATE tasks_jobevent SET published_at = NULL, error = 'the broker refused it: not authorised'
WHERE id IN (SELECT id FROM tasks_jobevent WHERE published_at IS NOT NULL ORDER BY id LIMIT 200)
"""


def populate(jobs: int) -> None:
    """Fill the empty tables; afterwards the statistics are those that PostgreSQL keeps by itself."""
    now, chance = timezone.now(), random.Random(1)
    users = User.objects.bulk_create(User(username=f"user{number}") for number in range(USERS))
    symbols = ["SPY", "AAPL", "MSFT", *_symbols(STOCKS - 3, chance)]
    stocks = Stock.objects.bulk_create(
        Stock(symbol=symbol, exchange="NMS", currency="USD", checked_at=now - WEEK * chance.random() ** 6)
        for symbol in symbols
    )
    portfolios = Portfolio.objects.bulk_create(Portfolio(user=user, name="Main") for user in users)
    Holding.objects.bulk_create(
        Holding(portfolio=portfolio, stock=stock, shares=10, buy_price=100)
        for portfolio in portfolios
        for stock in chance.sample(stocks, HOLDINGS)
    )
    Worker.objects.bulk_create(
        Worker(
            worker_id=f"{queue}@here:{number}",
            hostname="here",
            pid=number,
            queues=[queue],
            concurrency=2,
            started_at=now - WEEK,
            heartbeat_at=now,
        )
        for queue in ("foreground", "background")
        for number in range(1, WORKERS + 1)
    )
    limits, triggers, types, queues, first, last = (list(column) for column in zip(*_KINDS, strict=True))
    values: dict[str, Any] = {
        "now": now,
        "week": WEEK,
        "jobs": jobs,
        "workers": WORKERS,
        "symbols": symbols,
        "stocks": STOCKS,
        # Who is drawn by chance; a number of people that is prime, so that each logs in at all hours.
        "somebody": [users[int(USERS * chance.random() ** 2)].pk for _ in range(997)],
        "shares": [0.0, *limits[:-1]],
        "statuses": ["cancelled", "expired", "failed", "completed"],
        "ends": [0.0, 0.01, 0.02, 0.05],
        "triggers": triggers,
        "types": types,
        "queues": queues,
        "first": first,
        "last": last,
    }
    with connection.cursor() as cursor:
        # Nobody checks that each user of a million exists, and no bridge is told of each event.
        cursor.execute("SET session_replication_role = replica")
        for statement in (_JOBS, _REQUESTS, _LOGINS, _EVENTS, _UNPUBLISHED, _SET_ASIDE):
            cursor.execute(statement, values)
        cursor.execute("RESET session_replication_role")
        cursor.execute("VACUUM ANALYZE")


def _symbols(count: int, chance: random.Random) -> list[str]:
    """Different symbols of four letters."""
    numbers = chance.sample(range(26**4), count)
    return ["".join(string.ascii_uppercase[number // 26**place % 26] for place in range(4)) for number in numbers]

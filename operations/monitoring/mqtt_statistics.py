"""The statistics for requests to the MQTT bridge."""

from django.utils import timezone

from market.freshness import Freshness
from mqtt_bridge.statistics import Figures, OutboxState, PriorityDepth, QueueDepth, StockCounts, WorkerCounts
from operations.monitoring import statistics
from operations.monitoring.holdings_freshness import count_held
from operations.monitoring.workers import workforce


def collect_figures() -> Figures:
    """The current figures. Queries only the database, no broker."""
    now = timezone.now()
    queues: dict[str, list[PriorityDepth]] = {}
    for depth in statistics.active_jobs().depths():
        one = PriorityDepth(depth.priority, depth.pending, depth.queued, depth.running)
        queues.setdefault(depth.queue, []).append(one)
    workers = workforce()
    outbox = statistics.outbox(now)
    held = count_held(Freshness.of_all(now))
    return Figures(
        at=now,
        queues=[QueueDepth(queue, priorities) for queue, priorities in queues.items()],
        workers=WorkerCounts(workers.alive, workers.gone),
        outbox=OutboxState(outbox.unpublished, outbox.oldest_age),
        stocks=StockCounts(held.fresh, held.stale),
    )

"""The charts of the page "Stock data": for each line a figure of the readings and a link to a list."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from console.dashboard import links
from console.dashboard.svg import SHARE, TIME, Unit, counted
from market.sources import available_sources
from operations.models import Reading
from operations.monitoring.last_hour import FRESH, HOUR
from operations.monitoring.readings import REQUESTS
from tasks.models import Job

Link = Callable[[Reading], str]


@dataclass(frozen=True)
class Series:
    """A figure of the readings, by name, and the link from a reading to the list of the counted rows, if any."""

    label: str
    name: str
    link: Link


@dataclass(frozen=True)
class Subject:
    """The content of one chart. `over` is a series of times, drawn on top with its own axis."""

    key: str
    title: str
    meaning: str
    unit: Unit
    series: Sequence[Series]
    over: Series | None = None


def subjects() -> list[Subject]:
    """All charts of the page, in display order."""
    types = [str(job_type) for job_type in Job.Type]
    return [
        Subject(
            "waiting",
            "Waiting jobs",
            "Pending and queued jobs by queue, and the waiting time of the oldest.",
            counted("jobs"),
            [Series(str(queue), f"waiting_{queue}", _waiting(queue)) for queue in Job.Queue],
            over=Series("oldest", "oldest_waiting", _oldest),
        ),
        Subject(
            "ended",
            "Ended jobs",
            "Jobs that ended in the preceding hour, by status.",
            counted("jobs"),
            [Series(str(status), str(status), _ended(status__exact=status)) for status in Job.ENDED],
        ),
        Subject(
            "wait",
            "Wait, 95th percentile",
            "From queued to started, for jobs that completed or failed in the preceding hour, by type.",
            TIME,
            [Series(job_type, f"wait_{job_type}", _ran(job_type)) for job_type in types],
        ),
        Subject(
            "run",
            "Run time, 95th percentile",
            "From started to ended, for the same jobs, by type.",
            TIME,
            [Series(job_type, f"run_{job_type}", _ran(job_type)) for job_type in types],
        ),
        Subject(
            "login",
            "Login to last holding fresh",
            "Logins of the preceding hour whose requested stocks are all fresh.",
            TIME,
            [Series("median", "login_p50", _logins), Series("95th percentile", "login_p95", _logins)],
        ),
        Subject(
            "instant",
            "Instant logins",
            "Share of the logins of the preceding 24 hours that found all held stocks fresh.",
            SHARE,
            [Series("instant", "instant_logins", _no_list)],
        ),
        Subject(
            "coverage",
            "Coverage of held stocks",
            "Share of held stocks that are fresh; each stock counts once.",
            SHARE,
            [Series("fresh", "coverage", lambda reading: links.stocks(held="fresh"))],
        ),
        Subject(
            "requests",
            "Requests to sources",
            "Requests to each source in the preceding minute.",
            counted("requests"),
            [Series(source, REQUESTS + source, _source(source)) for source in available_sources()],
        ),
    ]


def _waiting(queue: str) -> Link:
    return lambda reading: links.active_jobs(queue__exact=queue, status__in=",".join(Job.WAITING))


def _oldest(reading: Reading) -> str:
    """Link to the job behind the figure and to older jobs; the figure is rounded to a millisecond."""
    asked_for = reading.at - timedelta(seconds=(reading.oldest_waiting or 0) - 0.001)
    return links.active_jobs(status__in=",".join(Job.WAITING), created_at__lte=asked_for.isoformat())


def _ended(**lookups: object) -> Link:
    return lambda reading: links.ended_jobs(reading.at - HOUR, finished_at__lte=reading.at.isoformat(), **lookups)


def _ran(job_type: str) -> Link:
    return _ended(job_type__exact=job_type, status__in=",".join(Job.WORKED_TO_THE_END))


def _logins(reading: Reading) -> str:
    return links.job_requests(login=FRESH)


def _no_list(reading: Reading) -> str:
    return ""


def _source(name: str) -> Link:
    return lambda reading: links.sources(source__exact=name)

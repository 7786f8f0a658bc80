"""The HTTP session of sources: counted, and bounded in time and size."""

import re
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import urlsplit

from curl_cffi.curl import CURL_WRITEFUNC_ERROR
from curl_cffi.requests import Response, Session
from curl_cffi.requests.exceptions import RequestException

from market.sources.base import Allowance, MalformedAnswer, RateLimited
from market.sources.concurrency import turn

CONNECT_TIMEOUT = 5.0
LARGEST_ANSWER = 16 * 2**20
"""Bytes after decompression. Sixty years of daily bars are a tenth of the limit."""


class SourceSession(Session[Response]):
    """A curl_cffi session; no request takes longer than `limit` seconds, or more memory than `LARGEST_ANSWER`.

    Each request is counted. A refused request pauses the whole source, and raises RateLimited. An answer that is too
    large raises MalformedAnswer; its rest is not read.
    """

    def __init__(
        self,
        label: str,
        allowance: Allowance,
        *,
        limit: float,
        proxy: str | None = None,
        ca_bundle: str | None = None,
        **options: Any,
    ) -> None:
        verify: Any = ca_bundle or True  # declared as a bool, and documented by curl_cffi as a path, too
        super().__init__(proxy=proxy, verify=verify, **options)
        self.label = label
        self.limit = limit
        self.allowance = allowance

    def subject_of(self, url: str) -> str:
        """The subject of a request, for messages."""
        return urlsplit(url).netloc

    def request(self, method: Any, url: str, **kwargs: Any) -> Response:  # type: ignore[override]
        asked = kwargs.pop("timeout", None)
        limit = min(asked, self.limit) if isinstance(asked, int | float) else self.limit
        connect = min(CONNECT_TIMEOUT, limit)
        body = bytearray()

        def receive(chunk: bytes) -> int:
            """Receive decompressed data from curl, some kilobytes at a time."""
            body.extend(chunk)
            return len(chunk) if len(body) <= LARGEST_ANSWER else CURL_WRITEFUNC_ERROR

        try:
            with turn():
                self.allowance.spend()
                # curl_cffi takes the sum of the two as the limit of the whole request.
                response = super().request(
                    method, url, timeout=(connect, limit - connect), content_callback=receive, **kwargs
                )
        except RequestException:
            if len(body) > LARGEST_ANSWER:
                size = f"{LARGEST_ANSWER // 2**20} MiB"
                raise MalformedAnswer(f"{self.label} sent more than {size} for {self.subject_of(url)}") from None
            raise
        response.content = bytes(body)
        if self.is_refusal(response):
            self.refuse(url, response)
        return response

    def is_refusal(self, response: Response) -> bool:
        """Whether an answer reports too many requests."""
        return response.status_code == HTTPStatus.TOO_MANY_REQUESTS

    def refuse(self, url: str, response: Response) -> NoReturn:
        """Pause the source after a refusal, and raise RateLimited."""
        self.allowance.note_refusal(retry_after(response))
        raise RateLimited(f"{self.label} refused {self.subject_of(url)}: too many requests ({response.status_code})")


def reason_of(error: RequestException) -> str:
    """curl's message, without its preamble and its pointer to the documentation."""
    return re.sub(r"^Failed to perform, curl: \(\d+\) | See https://.*$", "", str(error)).rstrip(".")


def retry_after(response: Response) -> float | None:
    """The seconds to wait, as an answer asks; None if not given in seconds."""
    value = response.headers.get("Retry-After") or ""
    return float(value) if value.isdecimal() else None

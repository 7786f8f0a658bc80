"""Talks to the LLM: a question and its answer, within a deadline. `market.llm` imports the module on demand.

No behaviour of the server blocks the caller. The client resolves the server's name, checks the addresses, and connects
only to a checked address. Redirects are not followed, and reading stops at answers that are too large.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
from pydantic import BaseModel, Field, ValidationError

from market.llm.hosts import AddressRefused, resolve
from market.llm.reply import LlmError, Reply, Usage
from market.text import clean_text
from stockqueue.config.llm_address import LlmServer

CONNECT_TIMEOUT = 5.0
"""Seconds for each address of the server."""
LARGEST_ANSWER = 2**20
"""Bytes. A thousand tokens are some kilobytes."""
RETRY_PAUSE = 1.0
"""Seconds before the second attempt, unless the server asks for more."""


class _Stopped(openai.OpenAIError):
    """Raised in the transport; openai passes its own errors through unchanged."""

    def __init__(self, message: str, *, may_have_cost: bool) -> None:
        super().__init__(message)
        self.may_have_cost = may_have_cost


def ask(server: LlmServer, body: Mapping[str, Any], *, timeout: float, deadline: float) -> Reply:
    """Send the body of a chat completion's request. LlmError without an answer in time.

    The call takes `deadline` seconds at most, and each attempt `timeout`. A second attempt follows a refusal (429) or
    an error in the server (5xx), if the deadline leaves time for the pause.
    """
    return asyncio.run(_ask(server, body, timeout, deadline))


async def _ask(server: LlmServer, body: Mapping[str, Any], limit: float, deadline: float) -> Reply:
    clock = asyncio.get_running_loop().time
    ends_at = clock() + deadline
    try:
        async with _within(deadline):
            try:
                return await _try(server, body, limit)
            except openai.APIStatusError as error:
                pause = _pause_after(error)
                if pause is None or clock() + pause >= ends_at:
                    raise
                await asyncio.sleep(pause)
                return await _try(server, body, limit)
    except openai.APIStatusError as error:
        raise LlmError(_explain(error.status_code, server.model), may_have_cost=False) from None
    except openai.APIConnectionError as error:
        raise _explain_loss(error.__cause__) from None
    except _Stopped as stopped:
        raise LlmError(str(stopped), may_have_cost=stopped.may_have_cost) from None


async def _try(server: LlmServer, body: Mapping[str, Any], limit: float) -> Reply:
    # Without trust_env: behind a proxy of the environment, addresses could not be checked.
    transport, timeout = _Transport(server), httpx2.Timeout(None, connect=min(CONNECT_TIMEOUT, limit))
    async with (
        _within(limit),
        httpx2.AsyncClient(transport=transport, follow_redirects=False, trust_env=False) as http,
    ):
        client = openai.AsyncOpenAI(
            base_url=server.base_url, api_key=server.api_key or "none", http_client=http, max_retries=0
        )
        answer = await client.chat.completions.with_raw_response.create(
            **body, timeout=timeout, extra_headers=_HEADERS if server.api_key else _HEADERS_WITHOUT_KEY
        )
        return _read(answer.content)


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """LlmError if the block takes longer. httpx limits single reads, and every dripping byte is a read."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise LlmError(f"it did not answer within {seconds:g} s") from None


# An uncompressed answer cannot grow while being read.
_HEADERS: dict[str, Any] = {"Accept-Encoding": "identity"}
_HEADERS_WITHOUT_KEY: dict[str, Any] = _HEADERS | {"Authorization": openai.Omit()}


class _Transport(httpx2.AsyncBaseTransport):
    """Connects to a checked address, and rejects answers that are too large."""

    def __init__(self, server: LlmServer) -> None:
        self._server = server
        self._http = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.raw_host.decode("ascii")
        try:
            addresses = await resolve(self._server, host)
        except AddressRefused as refused:
            raise _Stopped(str(refused), may_have_cost=False) from None
        except OSError as error:
            raise httpx2.ConnectError(f"{host}: {error.strerror or error}") from None
        request.extensions = {**request.extensions, "sni_hostname": host}
        for number, address in enumerate(addresses, 1):
            request.url = request.url.copy_with(host=str(address))
            try:
                response = await self._http.handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if number == len(addresses):
                    raise
            else:
                break
        if response.headers.get("Content-Encoding", "identity") != "identity":
            await response.aclose()
            raise _Stopped("its answer is compressed, although the request forbids it", may_have_cost=True)
        response.stream = _Limited(response.stream)
        return response

    async def aclose(self) -> None:
        await self._http.aclose()


class _Limited(httpx2.AsyncByteStream):
    """A body that raises an error once too large."""

    def __init__(self, body: Any) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._body:
            size += len(part)
            if size > LARGEST_ANSWER:
                raise _Stopped(f"its answer is larger than {LARGEST_ANSWER // 2**20} MiB", may_have_cost=True)
            yield part

    async def aclose(self) -> None:
        await self._body.aclose()


def _pause_after(error: openai.APIStatusError) -> float | None:
    """Seconds before another attempt; None if another attempt would not help."""
    if error.status_code != 429 and error.status_code < 500:
        return None
    wish = error.response.headers.get("Retry-After", "")
    return float(wish) if wish.isdecimal() else RETRY_PAUSE


def _explain_loss(cause: BaseException | None) -> LlmError:
    """The reason for a failed connection. After the key was sent, an error's text may repeat the key."""
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout):
        reason = clean_text(str(cause), 200) or "the connection took too long"
        return LlmError(f"it could not be reached: {reason}", may_have_cost=False)
    return LlmError(f"the connection to it broke ({type(cause).__name__})")


def _explain(status: int, model: str) -> str:
    """The meaning of a status. The server's own text may repeat the key, and is left out."""
    if 300 <= status < 400:
        return f"it redirects ({status}), and redirects are not followed"
    if status in (401, 403):
        return f"it does not accept OPENAI_API_KEY ({status})"
    if status == 404:
        return f"it has no model {model!r}, or OPENAI_BASE_URL lacks a part such as /v1 (404)"
    if status == 429:
        return "it refused the request: rate limit or quota exceeded (429)"
    return f"it answered {status}" if status >= 500 else f"it refused the request ({status})"


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(ge=0, le=1_000_000_000)
    completion_tokens: int = Field(ge=0, le=1_000_000_000)


class _Completion(BaseModel):
    """The used parts of a chat completion."""

    choices: list[_Choice] = Field(min_length=1)
    usage: Any = None


def _read(content: bytes) -> Reply:
    try:
        completion = _Completion.model_validate_json(content)
    except ValidationError:
        raise LlmError("its answer is not a chat completion") from None
    choice, usage = completion.choices[0], _read_usage(completion.usage)
    if choice.finish_reason == "length":
        raise LlmError("its answer is longer than integration.apis.openai.max_tokens allows", usage)
    if choice.message.refusal or not choice.message.content:
        raise LlmError("it declined to answer", usage)
    return Reply(choice.message.content, usage)


def _read_usage(usage: Any) -> Usage | None:
    try:
        read = _Usage.model_validate(usage)
    except ValidationError:
        return None
    return Usage(read.prompt_tokens, read.completion_tokens)

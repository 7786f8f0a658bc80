"""Asks the LLM a question with untrusted data, for an answer of a fixed form, within a budget of tokens."""

import json
import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Generic, NamedTuple, TypeVar

from django.conf import settings

from market.llm.budget import BudgetUsedUp, reserve, settle
from market.llm.reply import LlmError, Reply, Usage
from stockqueue.config.llm_address import OPENAI_URL, LlmServer

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Question(NamedTuple, Generic[Answer]):
    """A question to the LLM, and how to read its answer.

    `data` goes out as one JSON text, in a separate message: text in a headline never becomes part of the
    `instructions`. The server receives `schema`; `read` checks the answer, and raises ValueError with the reason.
    """

    name: str
    instructions: str
    data: Mapping[str, Any]
    schema: Mapping[str, Any]
    read: Callable[[str], Answer]


class Answered(NamedTuple, Generic[Answer]):
    """A checked answer, and its tokens; `usage` is None if the server does not report tokens."""

    answer: Answer
    usage: Usage | None


def ask(server: LlmServer, question: Question[Answer]) -> Answered[Answer]:
    """Ask the LLM server, within `llm_timeout` seconds. Raises LlmError, and logs the error.

    Counts tokens in the database: a call within a transaction would block the count of other processes.
    """
    try:
        return _ask(server, question)
    except LlmError as error:
        logger.warning("%s of %s: the LLM was not used: %s", question.name, question.data.get("symbol"), error)
        raise


def cost_of(usage: Usage | None) -> float | None:
    """The cost in the currency of the configured prices; None if prices or tokens are not known."""
    openai = settings.JOB_PROCESSOR.integration.apis.openai
    if usage is None or openai.prompt_price is None or openai.completion_price is None:
        return None
    price = usage.prompt_tokens * openai.prompt_price + usage.completion_tokens * openai.completion_price
    return float(price / 1_000_000)


def _ask(server: LlmServer, question: Question[Answer]) -> Answered[Answer]:
    body = _body(server, question)
    openai = settings.JOB_PROCESSOR.integration.apis.openai
    try:
        # No token is shorter than a byte, so the question has no more tokens than bytes.
        reserved = reserve(len(json.dumps(body, ensure_ascii=False).encode()) + openai.max_tokens)
    except BudgetUsedUp as used_up:
        raise LlmError(str(used_up), may_have_cost=False) from None
    try:
        reply: Reply = import_module("market.llm.client").ask(
            server, body, timeout=openai.timeout, deadline=settings.JOB_PROCESSOR.stock_jobs.analysis.llm_timeout
        )
    except LlmError as error:
        settle(reserved, _tokens(error.usage, error.may_have_cost), cost_of(error.usage))
        raise
    settle(reserved, _tokens(reply.usage, may_have_cost=True), cost_of(reply.usage))
    try:
        return Answered(question.read(reply.text), reply.usage)
    except ValueError as error:
        raise LlmError(str(error), reply.usage) from None


def _tokens(usage: Usage | None, may_have_cost: bool) -> int | None:
    """The tokens to count as used; None if not known."""
    return usage.tokens if usage is not None else None if may_have_cost else 0


def _body(server: LlmServer, question: Question[Answer]) -> dict[str, Any]:
    # OpenAI's newer models refuse `max_tokens`; servers of other makers ignore its new name.
    limit = "max_completion_tokens" if server.base_url == OPENAI_URL else "max_tokens"
    return {
        "model": server.model,
        "messages": [
            {"role": "system", "content": question.instructions},
            {"role": "user", "content": json.dumps(question.data, ensure_ascii=False)},
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": question.name, "strict": True, "schema": question.schema},
        },
        limit: settings.JOB_PROCESSOR.integration.apis.openai.max_tokens,
    }

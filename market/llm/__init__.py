"""Asks the LLM a question whose data is not trusted, for an answer of one form, within a budget of tokens."""

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
    """What is asked, and how the answer is read.

    `data` goes out as one JSON text, in a message of its own: whatever a headline in it says, it is no part of the
    `instructions`. The server is told `schema`; `read` holds the answer to it, and raises ValueError with the reason.
    """

    name: str
    instructions: str
    data: Mapping[str, Any]
    schema: Mapping[str, Any]
    read: Callable[[str], Answer]


class Answered(NamedTuple, Generic[Answer]):
    """An answer that was checked, and the tokens that it took; None where the server does not tell."""

    answer: Answer
    usage: Usage | None


def ask(server: LlmServer, question: Question[Answer]) -> Answered[Answer]:
    """The server's answer, within `llm_timeout` seconds. Raises LlmError, which is in the log then.

    Counts tokens in the database: called in a transaction, it would keep all others from counting meanwhile.
    """
    try:
        return _ask(server, question)
    except LlmError as error:
        logger.warning("%s of %s: the LLM was not used: %s", question.name, question.data.get("symbol"), error)
        raise


def cost_of(usage: Usage | None) -> float | None:
    """In the currency of the configured prices; None where these, or the tokens, are not known."""
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
    """What to count as used; None where that is not known."""
    return usage.tokens if usage is not None else None if may_have_cost else 0


def _body(server: LlmServer, question: Question[Answer]) -> dict[str, Any]:
    # OpenAI's newer models refuse `max_tokens`; servers of others ignore its new name.
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

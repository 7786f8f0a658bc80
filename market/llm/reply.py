"""The reply of the LLM, or the error in its place."""

from typing import NamedTuple


class Usage(NamedTuple):
    """Tokens, as counted by the server."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Reply(NamedTuple):
    """The model's text, not checked yet. `usage` is None if the server does not report tokens."""

    text: str
    usage: Usage | None


class LlmError(Exception):
    """No usable answer; the message is for the user, and continues "the LLM was not used: ".

    `usage` holds the tokens reported by the server. `may_have_cost` says whether tokens may have been used without a
    report.
    """

    def __init__(self, message: str, usage: Usage | None = None, *, may_have_cost: bool = True) -> None:
        super().__init__(message)
        self.usage = usage
        self.may_have_cost = may_have_cost

"""What comes of a question to the LLM."""

from typing import NamedTuple


class Usage(NamedTuple):
    """Tokens, as the server counted them."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Reply(NamedTuple):
    """What the model wrote, not checked yet. `usage` is None where the server does not tell."""

    text: str
    usage: Usage | None


class LlmError(Exception):
    """There is no usable answer; the message is for the user, and goes on from "the LLM was not used: ".

    `usage` is what the server told; `may_have_cost` says whether tokens may have been used although it did not.
    """

    def __init__(self, message: str, usage: Usage | None = None, *, may_have_cost: bool = True) -> None:
        super().__init__(message)
        self.usage = usage
        self.may_have_cost = may_have_cost

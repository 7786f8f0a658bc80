"""Types of values in job_processor.yml, and what every section has in common.

A field's description goes into the JSON Schema and, marked as deprecated, says why a key is ignored.
"""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def check_text(text: str) -> str:
    if re.search(r"[\x00-\x1f\x7f-\x9f]", text):
        raise ValueError("contains a control character")
    return text


def read_size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]{1,9}) ?([KMG]?)B?", value, re.IGNORECASE)
    if match is None:
        raise ValueError("is not a size in bytes such as 52428800 or 50MB")
    return int(match[1]) * 1024 ** " KMG".index(match[2].upper() or " ")


Text = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(check_text)]
Secret = Annotated[Text | None, Field(repr=False)]
Topic = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(check_text)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Retries = Annotated[int, Field(ge=0, le=100)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Priority = Annotated[int, Field(ge=1, le=10)]
Share = Annotated[float, Field(ge=0, le=1)]
Minutes = Annotated[int, Field(ge=0, le=525_600)]
Seconds = Annotated[int, Field(ge=1, le=31_536_000)]
# Waiting may be nothing or a part of a second, a limit to what runs may not be nothing.
Delay = Annotated[float, Field(ge=0, le=86_400)]
Timeout = Annotated[float, Field(ge=0.1, le=86_400)]
Delays = Annotated[tuple[Delay, ...], Field(strict=False, min_length=1, max_length=20)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]

IGNORED = Field(json_schema_extra={"deprecated": True})
# The value of a key whose content nobody reads: it is dropped, whatever it is.
Anything = Annotated[None, BeforeValidator(lambda value: None, json_schema_input_type=Any), IGNORED]


class Section(BaseModel):
    """A mapping of known keys. A section without content (null) is as if it were not there."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _read_empty(cls, value: Any) -> Any:
        return {} if value is None else value

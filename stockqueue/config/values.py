"""Types of values in job_processor.yml, and the base class of all sections.

A field's description goes into the JSON Schema. A deprecated field's description says why the key is ignored.
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
# A delay may be zero; a time limit may not be zero.
Delay = Annotated[float, Field(ge=0, le=86_400)]
Timeout = Annotated[float, Field(ge=0.1, le=86_400)]
Delays = Annotated[tuple[Delay, ...], Field(strict=False, min_length=1, max_length=20)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]

IGNORED = Field(json_schema_extra={"deprecated": True})
# The value of a key without a reader: it is dropped, whatever its type.
Anything = Annotated[None, BeforeValidator(lambda value: None, json_schema_input_type=Any), IGNORED]


class Section(BaseModel):
    """A mapping of known keys. An empty section (null) counts as missing."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _read_empty(cls, value: Any) -> Any:
        return {} if value is None else value

"""What every part of a manifest is made of: mappings that know their keys, quantities, texts.

In come plain values as YAML gave them; out come checked ones, or pydantic's errors, which `parse.py` says in our words.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from . import quantities

if TYPE_CHECKING:
    from collections.abc import Callable

_MEANT = {  # what other tools call it
    "cmd": "argv", "command": "argv", "entrypoint": "argv", "args": "argv", "cwd": "working_directory",
    "workdir": "working_directory", "env": "environment", "files": "mounts", "volumes": "mounts",
    "timeout": "limits.run_time", "version": "belljar", "memory": "limits.memory", "host": "insecure_host",
    "syscalls": "system_calls", "ports": "listen", "expose": "listen",
}  # fmt: skip


def _converted(convert: Callable[[object], int]) -> BeforeValidator:
    def validate(value: object) -> int:
        try:
            return convert(value)
        except ValueError as error:
            raise PydanticCustomError("quantity", "{message}", {"message": str(error)}) from error

    return BeforeValidator(validate)


Size = Annotated[
    int,
    _converted(quantities.size_bytes),
    WithJsonSchema({"type": ["integer", "string"], "pattern": quantities.SIZE_PATTERN, "examples": ["64MiB"]}),
]
Duration = Annotated[
    int,
    _converted(quantities.duration_ms),
    WithJsonSchema({"type": "string", "pattern": quantities.TIME_PATTERN, "examples": ["30s", "2h"]}),
]
Cpus = Annotated[
    int,
    _converted(quantities.cpu_millis),
    WithJsonSchema({"type": "number", "minimum": 0.01, "maximum": 4096}),
]
Text = Annotated[str, Field(max_length=32 * 1024, pattern=r"^[^\x00]*$")]


class Section(BaseModel):
    """A mapping of the manifest. Unknown keys are refused, and the closest known one is named."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, value: object) -> object:
        _refuse_unknown(_keys(value), [field.alias or name for name, field in cls.model_fields.items()])
        return value


def _keys(value: object) -> list[str]:
    return [str(key) for key in cast("dict[object, object]", value)] if isinstance(value, dict) else []


def _refuse_unknown(keys: list[str], known: list[str]) -> None:
    for key in keys:
        if key not in known:
            close = [_MEANT[key]] if key in _MEANT else difflib.get_close_matches(key, known, 1, 0.6)
            hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
            raise PydanticCustomError("unknown_key", "unknown key {key}: {hint}", {"key": key, "hint": hint})

"""Frozen keyword-only values for the start path: what `dataclasses` gives, without its import.

`import dataclasses` costs more than building every namespace (docs/decisions/0005-start-path.md). Type checkers see the
same as for a dataclass (PEP 681).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self, dataclass_transform
else:

    def dataclass_transform(**_options):
        """Stand in for `typing.dataclass_transform`, which only type checkers need."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True, kw_only_default=True, eq_default=True)
class Value:
    """Base of frozen values: annotate the fields in the subclass, give defaults as class attributes.

    Raises:
        TypeError: a field is missing or unknown.
    """

    def __init__(self, **fields: object) -> None:
        cls = type(self)
        for name in cls.__annotations__:
            if name in fields:
                object.__setattr__(self, name, fields.pop(name))
            elif not hasattr(cls, name):
                raise TypeError(f"{cls.__name__} needs the field {name}")
        if fields:
            raise TypeError(f"{cls.__name__} has no field {', '.join(fields)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    @classmethod
    def from_fields(cls, values: Iterable[object]) -> Self:
        """Return a value with all fields given in the order of their definition; what `fields` returned.

        Raises:
            ValueError: there are too many or too few.
        """
        value = cls.__new__(cls)
        for name, field in zip(cls.__annotations__, values, strict=True):
            object.__setattr__(value, name, field)
        return value

    def replace(self, **changes: object) -> Self:
        """Return a copy with some fields changed."""
        named = dict(zip(type(self).__annotations__, self.fields(), strict=True))
        return type(self).from_fields({**named, **changes}.values())

    def fields(self) -> tuple[object, ...]:
        """Return the values of all fields, in the order of their definition."""
        return tuple(getattr(self, name) for name in type(self).__annotations__)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Value) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash((type(self), self.fields()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in type(self).__annotations__)
        return f"{type(self).__name__}({shown})"

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

    def plain(self) -> list[object]:
        """Return [name of the class, field, …] with values inside made plain too: what marshal and `of_plain` take.

        Fields may hold no lists of their own, so that a list always stands for a value.
        """
        return [type(self).__name__, *map(_plain, self.fields())]

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


def _plain(value: object) -> object:
    if isinstance(value, Value):
        return value.plain()
    if isinstance(value, tuple):
        return tuple(map(_plain, value))  # pyright: ignore[reportUnknownArgumentType] # any part is an object
    return value


def of_plain(plain: object, kinds: dict[str, type[Value]]) -> object:
    """Return what `Value.plain` was given.

    Args:
        plain: what it returned.
        kinds: the classes that may occur, by name.

    Raises:
        KeyError, ValueError: another class occurs, or one with other fields.
    """
    if isinstance(plain, list):
        name, *fields = plain  # pyright: ignore[reportUnknownVariableType] # from_fields takes any
        return kinds[str(name)].from_fields(of_plain(field, kinds) for field in fields)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] # as above
    if isinstance(plain, tuple):
        return tuple(of_plain(part, kinds) for part in plain)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] # any part is an object
    return plain

"""How a run presents itself on this machine: nothing of it is measured, nothing of it reaches the program."""

from __future__ import annotations

from .values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Manner(Value):
    """How a run presents itself.

    Attributes:
        name: what it is called, exactly; None for the name of the enclave, with a number if that is taken.
        keeps_output: whether the program's output goes to the run's directory instead of our own 1 and 2.
        on_started: told the name of the run when its program has been started; None if nobody wants to know.
    """

    name: str | None = None
    keeps_output: bool = False
    on_started: Callable[[str], None] | None = None

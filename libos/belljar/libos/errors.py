"""What can go wrong in this house, cut by what a caller does about it.

`SandboxUnavailable`: this machine does not offer what an enclave needs; nothing of the guest ran.
`ProgramNotStarted`: the enclave stands, but its program could not be executed.
`NameTaken`, `NoSuchRun`, `NotAnswered`: about enclaves that run already, by name.
"""

from __future__ import annotations


class LibosError(Exception):
    """Root of the errors of this house.

    Args:
        message: lower-case fragment that names the thing, what was found and what was expected.
        hint: what the person can do about it.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class SandboxUnavailable(LibosError):
    """A step of building the enclave failed; the guest never ran."""


class ProgramNotStarted(LibosError):
    """The guest's program could not be executed.

    Args:
        message: what was tried and what the kernel said.
        code: errno of execve(2).
    """

    def __init__(self, message: str, *, code: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class NameTaken(LibosError):
    """An enclave of this name is running already."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"an enclave named {name} is running", hint=f"choose another name, or end it: belljar stop {name}"
        )


class NoSuchRun(LibosError):
    """No enclave of this name runs, and none is remembered."""


class NotAnswered(LibosError):
    """The supervisor of an enclave did not do what it was asked."""

"""What can go wrong in this house, cut by what a caller does about it.

`UsageError`: the command line is wrong. `ManifestError`: a manifest is, at these places. `BundleRefused`: a bundle must
not be believed. `ProgramNotFound` and `ProgramNotExecutable`: the exit codes 127 and 126 that shells know. Anything
else is a `LoaderError`.
"""

from __future__ import annotations


class LoaderError(Exception):
    """Root of the errors of this house.

    Args:
        message: lower-case fragment that names the thing, what was found and what was expected.
        hint: what the person can do about it.
    """

    exit_code = 125

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LoaderError):
    """The command line cannot be understood."""


class ProgramNotFound(LoaderError):
    """There is no such program, on the host or in the enclave."""

    exit_code = 127


class ProgramNotExecutable(LoaderError):
    """The program was found, but cannot be executed."""

    exit_code = 126


class BundleRefused(LoaderError):
    """A bundle is not what was built, not of the expected signer, or not for this belljar."""


class Problem:
    """One mistake in a manifest and where it stands.

    Args:
        place: "file:line:column", lines and columns counted from 1.
        message: what was found and what was expected.
    """

    def __init__(self, place: str, message: str) -> None:
        self.place = place
        self.message = message

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class ManifestError(LoaderError):
    """A manifest cannot be used.

    Args:
        problems: every mistake that was found, at least one.
    """

    def __init__(self, problems: list[Problem], *, hint: str | None = None) -> None:
        super().__init__("\n".join(map(str, problems)), hint=hint)
        self.problems = problems

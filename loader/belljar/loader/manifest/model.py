"""What a manifest may say, version 1: the one definition that the parser and the published JSON Schema share.

In comes a plain value as YAML gave it; out comes a frozen `Manifest`. Every key may be missing here, because a manifest
may extend another; what must be there in the end is checked in `parse.py`. Keys that give protection away carry
`insecure_`. The descriptions are the reference: docs/reference/manifest.md is made from them.
"""

from __future__ import annotations

import posixpath
import re
from typing import Annotated, Literal

from pathspec import GitIgnoreSpec
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from .network import Network
from .section import Cpus, Duration, Section, Size, Text

MANIFEST_VERSION = 1
MAX_ID = 65535  # ISVPRODID and ISVSVN of SGX are 16 bits: evidence in that shape must hold them

MAX_MOUNTS = 200  # so many descriptors fit into one message to the guest's side

_OURS = ("/dev", "/proc", "/sys")  # made anew for every enclave: a mount in them would undo what they hide
_MAX_STARS = 4  # in one pattern: each more can square the time to match a long name
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a path in the enclave; people want another size
_NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


def _guest_path(value: object) -> object:
    if isinstance(value, str):
        if not value.startswith("/") or value != posixpath.normpath(value) or "\0" in value or value.startswith("//"):
            raise PydanticCustomError(
                "guest_path", "got {value}, expected an absolute path in the enclave, without . or ..", {"value": value}
            )
        if len(value.encode(errors="surrogateescape")) > 4000:
            raise PydanticCustomError("guest_path", "expected a path of at most 4000 bytes", {})
    return value


def _hashed_place(value: str) -> str:
    for folder in _OURS:
        if value == folder or (value.startswith(f"{folder}/") and value != _SHARED_MEMORY):
            hint = f"{folder} is made by belljar; expected a path outside of {', '.join(_OURS)}"
            raise PydanticCustomError("mount_point", "got {value}: {hint}", {"value": value, "hint": hint})
    return value


def _place(value: str) -> str:
    if value == "/":
        raise PydanticCustomError("mount_point", "got /: only a hashed mount can be the root of the enclave", {})
    return _hashed_place(value)


def _pattern(value: str) -> str:
    if value.replace("**", "").count("*") > _MAX_STARS:
        raise PydanticCustomError("pattern", "got a pattern with more than {most} stars", {"most": _MAX_STARS})
    try:
        GitIgnoreSpec.from_lines([value])
    except (ValueError, re.error) as error:
        raise PydanticCustomError("pattern", "not a .gitignore pattern: {problem}", {"problem": str(error)}) from error
    return value


def _regular_expression(value: object) -> object:
    if isinstance(value, str):
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise PydanticCustomError(
                "pattern", "not a regular expression: {problem}", {"problem": str(error)}
            ) from error
    return value


def _argument_rule(value: object) -> str | None:
    """Return which form of `arguments` a value has, so that only the mistakes of that form are told."""
    if isinstance(value, dict | ArgumentPattern):
        return "mapping"
    return "word" if value in ("none", "any") else None


GuestPath = Annotated[str, BeforeValidator(_guest_path)]
HashedPlace = Annotated[GuestPath, AfterValidator(_hashed_place)]
Place = Annotated[GuestPath, AfterValidator(_place)]
Pattern = Annotated[Text, AfterValidator(_pattern)]
Name = Annotated[str, Field(pattern=_NAME)]
VariableName = Annotated[str, Field(pattern=_VARIABLE, max_length=200)]


class Environment(Section):
    """What the program finds in its environment; nothing else of the caller's reaches it."""

    set: dict[VariableName, Text] = Field(default={}, description="Variables with the values given here; measured.")
    pass_: list[VariableName] = Field(
        default=[],
        alias="pass",
        description="Names whose values come from the caller, if it has them; the names are measured, the values not.",
    )


class User(Section):
    """Whom the program runs as, in the enclave's own numbers; on the host it is never root."""

    name: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,30}$")] = "user"
    uid: Annotated[int, Field(ge=0, le=65533)] = 1000
    gid: Annotated[int, Field(ge=0, le=65533)] = 1000
    home: GuestPath = "/tmp"  # noqa: S108 - a path in the enclave


class HashedMount(Section):
    """A read-only tree whose every byte is measured."""

    type: Literal["hashed"]
    path: HashedPlace = Field(description="Where in the enclave.")
    source: Text = Field(description="Directory or file on the host; relative to the manifest.")
    include: list[Pattern] | None = Field(
        default=None, description="Only what matches one of these patterns (.gitignore syntax); everything by default."
    )
    exclude: list[Pattern] = Field(default=[], description="Nothing that matches one of these patterns.")


class HostMount(Section):
    """A folder or file of the host, for untrusted exchange: not measured, not protected."""

    type: Literal["host"]
    path: Place = Field(description="Where in the enclave.")
    source: Text = Field(description="Directory or file on the host; relative to the manifest.")
    writable: bool = Field(default=False, description="Whether the program may change it.")
    insecure_executable: bool = Field(default=False, description="Whether unmeasured programs may be run from it.")


class TmpfsMount(Section):
    """Scratch space in memory that ends with the enclave."""

    type: Literal["tmpfs"]
    path: Place = Field(description="Where in the enclave.")
    size: Size = Field(default=256 << 20, description="Limit of its content.")
    insecure_executable: bool = Field(default=False, description="Whether programs written here may be run.")


class EncryptedMount(Section):
    """A writable volume: encrypted, authenticated, and refused when it is older than its newest state."""

    type: Literal["encrypted"]
    path: Place = Field(description="Where in the enclave.")
    source: Text = Field(
        description="Container on the host, as belljar volume create made it; for an ephemeral one the folder that "
        "gives it room. Relative to the manifest."
    )
    key: Literal["passphrase", "file", "ephemeral", "sealed:signer", "sealed:measurement"] = Field(
        description="What opens it: a passphrase; the key file SOURCE.key; a key that is drawn for the run and ends "
        "with it, and the content too; or a key sealed to the signer (this and later versions of the product) or to "
        "the measurement (this very enclave)."
    )
    size: Size | None = Field(default=None, description="Limit of what it may hold.")
    insecure_executable: bool = Field(default=False, description="Whether programs written here may be run.")


Mount = Annotated[HashedMount | HostMount | TmpfsMount | EncryptedMount, Field(discriminator="type")]
FROM_HOST = (HostMount, EncryptedMount)
"""Mounts that have a source on the host, and no index that pins it."""


class Limits(Section):
    """Resources the enclave may use."""

    memory: Size | None = Field(default=None, description="All processes and scratch mounts together.")
    processes: Annotated[int, Field(ge=1, le=1_000_000)] = Field(default=1024, description="Processes and threads.")
    open_files: Annotated[int, Field(ge=16, le=1_048_576)] = Field(default=4096, description="Per process.")
    cpus: Cpus | None = Field(default=None, description="CPUs' worth of time, such as 1.5.")
    run_time: Duration | None = Field(default=None, description="After this the enclave is ended, exit code 124.")


class SystemCalls(Section):
    """Changes to the default system call policy (docs/reference/system-calls.md)."""

    insecure_allow: list[Text] = Field(default=[], description="Allowed beyond the default, with any arguments.")
    deny: list[Text] = Field(default=[], description="Refused although the default allows them.")


class Integrity(Section):
    """What happens when a host file is not what was measured; the program gets EIO in any case."""

    insecure_continue: bool = Field(default=False, description="Report it, but let the enclave go on.")


class Attestation(Section):
    """On what the identity of the enclave rests, and whether it has files to ask for evidence."""

    platform: Literal["auto", "soft", "tpm", "tsm", "none"] = Field(
        default="auto",
        description="Root of trust: auto for the strongest that is there; soft, tpm or tsm for that one, and a soft "
        "one is made on first use; none for no evidence and no files.",
    )


class ArgumentPattern(Section):
    """The caller may add arguments that match a pattern."""

    pattern: Annotated[str, BeforeValidator(_regular_expression), Field(max_length=1000)] = Field(
        description="Python regular expression that each added argument must match as a whole."
    )


class Manifest(Section):
    """A manifest of an enclave, version 1."""

    belljar: Literal[1] = Field(description="Version of the manifest format.")
    extends: list[Text] = Field(
        default=[], description="Manifests this one builds on: files relative to it, or built-in: minimal, python."
    )
    name: Name | None = Field(default=None, description="What people call it; also the host name inside.")
    product_id: Annotated[int, Field(ge=0, le=MAX_ID)] = Field(default=0, description="Your number for the product.")
    security_version: Annotated[int, Field(ge=0, le=MAX_ID)] = Field(
        default=0, description="Grows with every fix that matters."
    )
    programs: list[Text] = Field(
        default=[],
        description="Programs of the host to bring in with all they need: libraries, interpreter, standard library.",
    )
    argv: Annotated[list[Text], Field(min_length=1)] | None = Field(
        default=None, description="The program and its arguments."
    )
    arguments: Annotated[
        Annotated[Literal["none", "any"], Tag("word")] | Annotated[ArgumentPattern, Tag("mapping")],
        Discriminator(
            _argument_rule,
            custom_error_type="arguments",
            custom_error_message="expected none, any, or a mapping with the key pattern",
        ),
    ] = Field(
        default="none", description="Whether a caller may add arguments: none, any, or those that match a pattern."
    )
    environment: Environment = Environment()
    working_directory: GuestPath | None = Field(default=None, description="By default the first hashed mount.")
    user: User = User()
    mounts: list[Mount] = Field(
        default=[], max_length=MAX_MOUNTS, description="What the program sees, besides the programs."
    )
    limits: Limits = Limits()
    system_calls: SystemCalls = SystemCalls()
    network: Network = Network()
    integrity: Integrity = Integrity()
    attestation: Attestation = Attestation()
    insecure_exec: bool = Field(
        default=False, description="Whoever runs the enclave may start other programs in it: belljar exec."
    )

"""Turn errors of every house into ours, so that `cli.py` knows one kind only. Cold."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from belljar.attestation.errors import AttestationError
from belljar.fs.errors import FsError
from belljar.libos.policy import LibosError
from belljar.loader.errors import LoaderError

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def loader_errors() -> Generator[None]:
    """Raise errors of the kernel, the file systems and the sandbox as `LoaderError`, message and hint kept."""
    try:
        yield
    except (FsError, LibosError, AttestationError) as error:
        raise LoaderError(str(error), hint=error.hint) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        what = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        raise LoaderError(f"{what}{error.strerror or error}") from error
    except RecursionError as error:
        raise LoaderError("the input is nested too deeply") from error

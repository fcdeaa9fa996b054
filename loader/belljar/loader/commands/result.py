"""`belljar run --result`: how a run ended, as JSON, for the program that started it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from belljar.libos.enclave import Refusal

if TYPE_CHECKING:
    from belljar.libos.enclave import Run


def write_result(descriptor: int, run: Run) -> None:
    """Write how a run ended to an open descriptor, and close it; who does not read it, does not get it."""
    outcome = run.outcome
    result = {
        "name": run.name,
        "reason": outcome.reason,
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "notes": list(outcome.notes),
        "refused": [dict(zip(Refusal.__annotations__, refusal.fields(), strict=True)) for refusal in run.refused],
    }
    try:
        with os.fdopen(descriptor, "wb") as pipe:
            pipe.write(json.dumps(result).encode())
    except OSError:
        pass

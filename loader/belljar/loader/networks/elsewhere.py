"""Let an enclave listen at other addresses than its manifest says: they are not measured, so a caller may choose.

In come a specification and `--listen GUEST=ADDRESS`; out comes the same enclave with other addresses outside. What may
come in, and what it must prove, is the manifest's. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from belljar.loader.errors import UsageError
from belljar.loader.manifest.network import UNIX, Outside

if TYPE_CHECKING:
    from belljar.libos.enclave import EnclaveSpec

_outside: TypeAdapter[str] = TypeAdapter(Outside)


def listening_at(spec: EnclaveSpec, wishes: list[str]) -> EnclaveSpec:
    """Return an enclave that listens where its caller wants.

    Args:
        spec: the enclave.
        wishes: GUEST=ADDRESS, where GUEST is as the manifest has it: a port, or unix:/path.

    Raises:
        UsageError: a wish is malformed, or the manifest leads nothing there, or more than one address.
    """
    for wish in wishes:
        guest, equals, text = wish.partition("=")
        if not equals:
            raise UsageError(f"--listen {wish}: expected GUEST=ADDRESS", hint="--listen 8080=0.0.0.0:8443")
        where = guest if guest.startswith(UNIX) else f"127.0.0.1:{guest}"
        found = [number for number, entry in enumerate(spec.inward) if entry.guest == where]
        if len(found) != 1:
            known = ", ".join(sorted({entry.guest.removeprefix("127.0.0.1:") for entry in spec.inward})) or "nothing"
            raise UsageError(
                f"--listen {wish}: {len(found)} addresses of the manifest lead to {guest}, expected one",
                hint=f"they lead to {known}",
            )
        moved = spec.inward[found[0]].replace(outside=_checked(wish, text))
        spec = spec.replace(inward=(*spec.inward[: found[0]], moved, *spec.inward[found[0] + 1 :]))
    return spec


def _checked(wish: str, text: str) -> str:
    try:
        return _outside.validate_python(text)
    except ValidationError as error:
        raise UsageError(f"--listen {wish}: {error.errors()[0]['msg']}") from error

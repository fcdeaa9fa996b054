"""Door of this house to those who need an enclave's identity outside of a run: to seal a volume for it. Cold."""

from __future__ import annotations

from .identity.root import NoIdentity, enclave_of, open_root

__all__ = ["NoIdentity", "enclave_of", "open_root"]

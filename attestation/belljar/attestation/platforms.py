"""Door: roots of trust, to make one and to choose one; the algorithms below them (IEEE 2952 5.1.3)."""

from __future__ import annotations

from .crypto.reviewed import ALGORITHMS as REVIEWED_ALGORITHMS
from .crypto.reviewed import Reviewed
from .evidence import key_digest
from .roots.choose import DEFAULT_TPM, KINDS, Places, choose, connected
from .roots.root import HardwareQuote, PlatformId, RootOfTrust
from .roots.soft import NAME as SOFT_NAME
from .roots.soft import Birth, SoftRoot, make_soft, open_soft, rotate_soft
from .roots.tpm import NAME as TPM_NAME
from .roots.tpm import TpmBirth, TpmRoot, make_tpm, open_tpm

__all__ = [
    "DEFAULT_TPM", "KINDS", "REVIEWED_ALGORITHMS", "SOFT_NAME", "TPM_NAME", "Birth", "HardwareQuote", "Places",
    "PlatformId", "Reviewed", "RootOfTrust", "SoftRoot", "TpmBirth", "TpmRoot", "choose", "connected", "key_digest",
    "make_soft", "make_tpm", "open_soft", "open_tpm", "rotate_soft",
]  # fmt: skip

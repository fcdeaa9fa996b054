"""Seal for yourself, unseal what you or an older version of you sealed (IEEE 2952 5.1.2 e, 7.6.2 c).

`Sealer(root, enclave)` is all there is: `seal` under a policy, `unseal`. Format: docs/formats/sealed.md.
"""

from .layout import MAX_PLAINTEXT_BYTES, Policy
from .sealer import Sealer

__all__ = ["MAX_PLAINTEXT_BYTES", "Policy", "Sealer"]

"""Whether an enclave has a root of trust on this machine. Hot: looks at names only, imports nothing.

`auto` never makes a root of trust: a platform that nobody asked for would be an identity that nobody pins. One that the
manifest names is made on first use, as `belljar platform init` would.
"""

from __future__ import annotations

import os

from belljar.libos.folders import platform_folder

NONE, AUTO, SOFT = "none", "auto", "soft"
FILES = ("soft.platform", "tpm.platform")  # a test holds them to what attestation calls them
HARDWARE = "/sys/kernel/config/tsm/report"


def attests_here(platform: str) -> bool:
    """Say whether the guest shall have files for evidence.

    Args:
        platform: as the manifest has it: "auto", the name of a root of trust, or "none".
    """
    if platform == NONE:
        return False
    if platform != AUTO:
        return True
    folder = platform_folder()
    return any(os.path.lexists(f"{folder}/{name}") for name in FILES) or os.path.isdir(HARDWARE)

"""Numbers of the TPM 2.0 Library (TCG, part 2), and what response codes are called (6.6.3).

Only those that this room sends, or that a person may meet. Values only.
"""

from __future__ import annotations

from enum import IntEnum

NO_SESSIONS, SESSIONS = 0x8001, 0x8002
OWNER, NULL, PASSWORD, ENDORSEMENT = 0x40000001, 0x40000007, 0x40000009, 0x4000000B
TRANSIENT, LOADED_SESSION, SAVED_SESSION = 0x80000000, 0x02000000, 0x03000000
RSA, AES, KEYEDHASH, SHA256, NO_ALGORITHM = 0x0001, 0x0006, 0x0008, 0x000B, 0x0010
ECDSA, ECC, CFB, P256 = 0x0018, 0x0023, 0x0043, 0x0003
CAP_HANDLES, CAP_TPM_PROPERTIES = 1, 6
SE_POLICY = 1


class Command(IntEnum):
    """Command codes (6.5.2)."""

    NV_UNDEFINE_SPACE = 0x122
    NV_DEFINE_SPACE = 0x12A
    CREATE_PRIMARY = 0x131
    NV_INCREMENT = 0x134
    STARTUP = 0x144
    SHUTDOWN = 0x145
    ACTIVATE_CREDENTIAL = 0x147
    NV_READ = 0x14E
    POLICY_SECRET = 0x151
    CREATE = 0x153
    LOAD = 0x157
    QUOTE = 0x158
    UNSEAL = 0x15E
    FLUSH_CONTEXT = 0x165
    NV_READ_PUBLIC = 0x169
    READ_PUBLIC = 0x173
    START_AUTH_SESSION = 0x176
    GET_CAPABILITY = 0x17A
    GET_RANDOM = 0x17B
    PCR_READ = 0x17E
    POLICY_PCR = 0x17F
    PCR_EXTEND = 0x182
    POLICY_GET_DIGEST = 0x189


class Attribute(IntEnum):
    """Attributes of objects (8.3.2)."""

    FIXED_TPM = 1 << 1
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    NO_DA = 1 << 10
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18


RC_INITIALIZE = 0x100  # TPM2_Startup was sent before
RC_NV_UNINITIALIZED = 0x14A
RC_HANDLE = 0x08B
RC_RETRIES = frozenset({0x908, 0x90A, 0x922})  # yielded, testing, retry: the same command again
_FORMAT_ONE = (  # from 1; "-" is not assigned
    "ASYMMETRIC", "ATTRIBUTES", "HASH", "VALUE", "HIERARCHY", "-", "KEY_SIZE", "MGF", "MODE", "TYPE", "HANDLE", "KDF",
    "RANGE", "AUTH_FAIL", "NONCE", "PP", "-", "SCHEME", "-", "-", "SIZE", "SYMMETRIC", "TAG", "SELECTOR", "-",
    "INSUFFICIENT", "SIGNATURE", "KEY", "POLICY_FAIL", "-", "INTEGRITY", "TICKET", "RESERVED_BITS", "BAD_AUTH",
    "EXPIRED", "POLICY_CC", "BINDING", "CURVE", "ECC_POINT",
)  # fmt: skip
_VERSION_ONE = {
    0x00: "INITIALIZE", 0x01: "FAILURE", 0x03: "SEQUENCE", 0x0B: "PRIVATE", 0x20: "DISABLED", 0x25: "AUTH_MISSING",
    0x26: "POLICY", 0x27: "PCR", 0x28: "PCR_CHANGED", 0x2F: "AUTH_UNAVAILABLE", 0x30: "REBOOT", 0x42: "COMMAND_SIZE",
    0x43: "COMMAND_CODE", 0x44: "AUTHSIZE", 0x46: "NV_RANGE", 0x47: "NV_SIZE", 0x48: "NV_LOCKED",
    0x49: "NV_AUTHORIZATION", 0x4A: "NV_UNINITIALIZED", 0x4B: "NV_SPACE", 0x4C: "NV_DEFINED",
}  # fmt: skip
_WARNINGS = {
    0x02: "OBJECT_MEMORY", 0x03: "SESSION_MEMORY", 0x04: "MEMORY", 0x05: "SESSION_HANDLES", 0x06: "OBJECT_HANDLES",
    0x07: "LOCALITY", 0x08: "YIELDED", 0x09: "CANCELED", 0x0A: "TESTING", 0x10: "REFERENCE_H0", 0x20: "NV_RATE",
    0x21: "LOCKOUT", 0x22: "RETRY", 0x23: "NV_UNAVAILABLE",
}  # fmt: skip


def response_name(code: int) -> str:
    """Return what a response code is called, with its number, such as `TPM_RC_POLICY_FAIL (0x99d)`."""
    if code & 0x80:
        error = code & 0x3F
        name = _FORMAT_ONE[error - 1] if 0 < error <= len(_FORMAT_ONE) else "-"
    elif code & 0x900 == 0x900:
        name = _WARNINGS.get(code & 0x7F, "-")
    else:
        name = _VERSION_ONE.get(code & 0x7F, "-") if code & 0x100 else "-"
    return f"TPM_RC_{name} (0x{code:x})" if name != "-" else f"response code 0x{code:x}"

"""Door: what an enclave does with a root of trust: evidence, sealing, quotes and reports for Gramine's files."""

from __future__ import annotations

from .claims import Purpose, Task
from .dice.enclave import Enclave
from .eat.attester import Attester, Request, Run, attest, make_evidence, media_type, wrapped_cwt, wrapped_jwt
from .eat.identity import IdentityFiles, identity_certificate, identity_key, read_identity
from .eat.report_data import report_data
from .eat.token import CWT_TYPE
from .eat.verify import EatFormat, Expected, verify_evidence
from .gramine.keys import special_key
from .gramine.layout import target_info, unpack_target_info
from .gramine.quote import Quoter, quoter, verify_quote
from .gramine.report import ReportRequest, make_report, verify_report
from .sealing import Policy, Sealer

__all__ = [
    "CWT_TYPE",
    "Attester",
    "EatFormat",
    "Enclave",
    "Expected",
    "IdentityFiles",
    "Policy",
    "Purpose",
    "Quoter",
    "ReportRequest",
    "Request",
    "Run",
    "Sealer",
    "Task",
    "attest",
    "identity_certificate",
    "identity_key",
    "make_evidence",
    "make_report",
    "media_type",
    "quoter",
    "read_identity",
    "report_data",
    "special_key",
    "target_info",
    "unpack_target_info",
    "verify_evidence",
    "verify_quote",
    "verify_report",
    "wrapped_cwt",
    "wrapped_jwt",
]  # fmt: skip

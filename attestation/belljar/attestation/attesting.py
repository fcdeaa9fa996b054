"""Door: what an enclave does with a root of trust: evidence, sealing, quotes and reports for Gramine's files."""

from __future__ import annotations

from .claims import Purpose, Task
from .dice.enclave import Enclave
from .eat.attester import Attester, Request, Run, attest, make_evidence, wrapped_cwt, wrapped_jwt
from .eat.report_data import report_data
from .eat.verify import EatFormat, Expected, verify_evidence
from .gramine.keys import special_key
from .gramine.layout import target_info, unpack_target_info
from .gramine.quote import Quoter, quoter, verify_quote
from .gramine.report import ReportRequest, make_report, verify_report
from .sealing import Policy, Sealer

__all__ = [
    "Attester", "EatFormat", "Enclave", "Expected", "Policy", "Purpose", "Quoter", "ReportRequest", "Request", "Run",
    "Sealer", "Task", "attest", "make_evidence", "make_report", "quoter", "report_data", "special_key", "target_info",
    "unpack_target_info", "verify_evidence", "verify_quote", "verify_report", "wrapped_cwt", "wrapped_jwt",
]  # fmt: skip

"""`belljar policy check`: say whether policies can be used, and what each accepts; exit code 1 if one cannot."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, cast

from belljar.attestation.verifier import PolicyRefused
from belljar.loader import report
from belljar.loader.errors import UsageError

from .sources import read_policy

if TYPE_CHECKING:
    from belljar.attestation.verifier import Policy
    from belljar.loader.options import Parsed

_REFUSED = 1


def main(parsed: Parsed) -> int:
    """Check policies."""
    if not parsed.words:
        raise UsageError("expected policies: belljar policy check policy.yaml")
    found: list[dict[str, object]] = []
    for path in parsed.words:
        try:
            found.append({"file": path, "usable": True, **summary(read_policy(path))})
        except PolicyRefused as error:
            found.append({"file": path, "usable": False, "error": str(error), "hint": error.hint})
    if parsed.has("json"):
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        for one in found:
            _print(one)
    return 0 if all(one["usable"] for one in found) else _REFUSED


def summary(policy: Policy) -> dict[str, object]:
    """Return what a policy accepts, and what it does not ask, as plain values."""
    return {
        "id": policy.identifier,
        "tees": sorted(tee.value for tee in policy.tees),
        "rules_about_code": None if policy.code is None else len(policy.code),
        "instances": None if policy.instance is None or policy.instance.anything else len(policy.instance.values),
        "skipped": _skipped(policy),
        "allowed": [
            name
            for name, on in (
                ("insecure_allow_simulated", policy.allow_simulated), ("insecure_allow_debug", policy.allow_debug)
            )
            if on
        ],
    }  # fmt: skip


def _skipped(policy: Policy) -> list[str]:
    hardware = [
        (f"{name}.tcb", rules.min_tcb_status is None)
        for name, rules in (("intel-tdx", policy.tdx), ("intel-sgx", policy.sgx))
        if rules is not None
    ]
    skipped = [
        ("code", policy.code is None),
        ("freshness", not policy.nonce and policy.max_age_s is None),
        ("purpose", policy.purposes is None),
        ("provider", policy.provider is None),
        ("data_consistency", policy.data_consistency is None),
        ("task", policy.task is None),
        ("revocation", not policy.require_crls),
        ("amd-snp.tcb", policy.snp is not None and policy.snp.min_tcb is None),
        ("intel-tdx.rtmrs", policy.tdx is not None and policy.tdx.rtmrs is None),
        ("tpm.pcrs", policy.tpm is not None and policy.tpm.pcrs is None),
        *hardware,
    ]
    return [name for name, on in skipped if on]


def _print(found: dict[str, object]) -> None:
    if not found["usable"]:
        sys.stdout.flush()
        hint = found["hint"]
        report.error(f"{found['file']}: {found['error']}", str(hint) if hint else None)
        return
    rules, runs = found["rules_about_code"], found["instances"]
    rows = (
        ("policy", found["id"]),
        ("accepts", ", ".join(map(str, _list(found["tees"])))),
        ("code", "anything: insecure" if rules is None else f"one of {rules} rules" if rules != 1 else "one rule"),
        ("runs", "any" if runs is None else f"one of {runs}" if runs != 1 else "one"),
        ("does not ask", ", ".join(_list(found["skipped"])) or "nothing is left out"),
        ("allows", ", ".join(_list(found["allowed"])) or "neither simulation nor debugging"),
    )
    width = max(len(name) for name, _ in rows)
    sys.stdout.writelines(f"{name:<{width}}  {report.printable(str(value))}\n" for name, value in rows)


def _list(value: object) -> list[str]:
    return [str(item) for item in cast("list[object]", value)] if isinstance(value, list) else []

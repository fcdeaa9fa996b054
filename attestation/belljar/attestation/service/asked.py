"""The body of an appraisal request, read strictly: every member known, of its type and size, or refused.

    {"policy": NAME, "nonce": HEX or "own_nonce": HEX, "evidence": BASE64, "media_type"?: TEXT,
     "report_data"?: HEX, "endorsements"?: [BASE64, …], "form"?: "jwt" or "cwt"}

In come bytes from strangers; out comes an `Asked`, or `ServiceRefused`. Pure.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from belljar.attestation.appraisal.endorsing import MAX_FILES, endorsements_in
from belljar.attestation.errors import AttestationError

from .answers import ServiceRefused, Unusable

if TYPE_CHECKING:
    from belljar.attestation.evidence import Endorsements

_MEMBERS = frozenset(
    {"policy", "nonce", "own_nonce", "evidence", "media_type", "report_data", "endorsements", "form"}
)  # fmt: skip
_HEX = re.compile(r"(?:[0-9a-f]{2}){8,64}")
_FORMS = ("jwt", "cwt")
_REPORT_DATA_BYTES = 64
_MAX_TYPE = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be appraised, and how.

    Attributes:
        policy: its name.
        nonce: the challenge.
        own_nonce: whether the challenge is the caller's own.
        evidence: as it came.
        media_type: what it says it is, if somebody told.
        report_data: what it must bind, if the caller knows.
        endorsements: what the caller gathered.
        form: of the result: `jwt` or `cwt`.
    """

    policy: str
    nonce: bytes
    own_nonce: bool
    evidence: bytes
    media_type: str | None
    report_data: bytes | None
    endorsements: Endorsements
    form: str


def read_asked(body: bytes) -> Asked:
    """Return what a request asks.

    Raises:
        ServiceRefused: it is not JSON, or a member is missing, unknown or malformed.
        Unusable: an endorsement is of no known form.
    """
    members = _members(body)
    own, ours = members.get("own_nonce"), members.get("nonce")
    if (own is None) is (ours is None):
        raise ServiceRefused("expected either nonce, from /v1/challenges, or own_nonce")
    form = members.get("form", "jwt")
    if form not in _FORMS:
        raise ServiceRefused(f"form: got {form!r:.40}, expected jwt or cwt")
    media_type = members.get("media_type")
    if media_type is not None and not (isinstance(media_type, str) and 0 < len(media_type) <= _MAX_TYPE):
        raise ServiceRefused("media_type: expected a text")
    bound = members.get("report_data")
    report_data = None if bound is None else _octets(bound, "report_data")
    if report_data is not None and len(report_data) != _REPORT_DATA_BYTES:
        raise ServiceRefused(f"report_data: got {len(report_data)} bytes, expected {_REPORT_DATA_BYTES}")
    return Asked(
        policy=_text(members, "policy"),
        nonce=_octets(own or ours, "nonce"),
        own_nonce=own is not None,
        evidence=_base64(_text(members, "evidence"), "evidence"),
        media_type=media_type,
        report_data=report_data,
        endorsements=_endorsements(members.get("endorsements", [])),
        form=str(form),
    )


def _members(body: bytes) -> dict[str, object]:
    try:
        found: object = json.loads(body.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ServiceRefused("the body is not JSON, or names a member twice") from error
    if not isinstance(found, dict):
        raise ServiceRefused("the body is no JSON object")
    members = cast("dict[str, object]", found)
    if unknown := sorted(set(members) - _MEMBERS):
        raise ServiceRefused(f"there is no member {unknown[0][:40]!r}, expected some of {', '.join(sorted(_MEMBERS))}")
    return members


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


def _text(members: dict[str, object], name: str) -> str:
    found = members.get(name)
    if not isinstance(found, str) or not found:
        raise ServiceRefused(f"{name}: got nothing or no text, expected a text")
    return found


def _octets(found: object, name: str) -> bytes:
    if not isinstance(found, str) or not _HEX.fullmatch(found):
        raise ServiceRefused(f"{name}: expected 8 to 64 bytes in hexadecimal, lower case")
    return bytes.fromhex(found)


def _base64(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ServiceRefused(f"{name}: not base64") from error


def _endorsements(found: object) -> Endorsements:
    items = cast("list[object]", found) if isinstance(found, list) else None
    if items is None or len(items) > MAX_FILES or not all(isinstance(item, str) for item in items):
        raise ServiceRefused(f"endorsements: expected a list of at most {MAX_FILES} texts in base64")
    try:
        return endorsements_in([_base64(str(item), "endorsements") for item in items])
    except ServiceRefused:
        raise
    except AttestationError as error:
        raise Unusable(str(error), hint=error.hint) from error

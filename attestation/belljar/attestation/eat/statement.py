"""What a token says, and how each claim is written in CBOR and in JSON (docs/formats/eat-profile.md).

In comes a `Statement`; out come a CBOR map and a JSON object with the same claims, and back. Registered claims are
those of RFC 9711 and RFC 8392; our own have labels below -65536, which are for private use (RFC 8392 9.1.1), and
names that begin with `belljar.`. A claim that is unknown, missing, or not of its type is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from belljar.attestation.errors import EvidenceRefused

from .cmw import base64url, from_base64url

if TYPE_CHECKING:
    from belljar.attestation.canonical import Json
    from belljar.attestation.cbor import Cbor

PROFILE = "2.25.80426532719792803186055112605088431512"
"""This profile, version 1: an object identifier made from a UUID, so that no domain has to be owned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The claims of one token; byte strings have the lengths that `_CLAIMS` gives.

    Attributes:
        profile: `PROFILE`.
        nonce: the verifier's challenge.
        issued_at: seconds since 1970, by the attester's clock.
        ueid: 0x01 and the SHA-256 of the platform key: names the platform (RFC 9711 4.2.1).
        hardware: what stands behind it: `sim`, `tpm2`, `amd-snp`, ...
        debug: 0 where the machine's owner may look inside, also in every simulation; 1 where not (RFC 9711 4.2.9).
        intended_use: RFC 9711 4.3.3, as far as it has words for our purposes.
        runtime: name of what runs the code.
        runtime_version: its version.
        tee: kind of environment, as `claims.Tee` spells it.
        simulated: whether no hardware stands behind it.
        measurement: of the enclave.
        signer: the signer id, or None.
        product_id: the signer's.
        svn: security version.
        provider: identifier of the platform.
        report_data: report_data.py.
        purpose: what the token is for, as `claims.Purpose` spells it.
        data_consistency: commitment to the volumes, or None.
        argv: digest of the arguments, or None.
        environment: digest of the environment, or None.
        kernel: of the operating system below.
        instance: of this one run.
        quote_type: media type of the hardware's quote, or None.
        quote: the hardware's quote over platform_data, or None.
        quote_extra: certificates or tables that came with it, or None.
    """

    profile: str
    nonce: bytes
    issued_at: int
    ueid: bytes
    hardware: bytes
    debug: int
    intended_use: int
    runtime: str
    runtime_version: str
    tee: str
    simulated: bool
    measurement: bytes
    signer: bytes | None
    product_id: int
    svn: int
    provider: bytes
    report_data: bytes
    purpose: str
    data_consistency: bytes | None
    argv: bytes | None
    environment: bytes | None
    kernel: str
    instance: bytes
    quote_type: str | None
    quote: bytes | None
    quote_extra: bytes | None


class _Kind(Protocol):
    """How one type of claim is written; `read_...` return None for what is not of the type."""

    def cbor(self, value: Any) -> Cbor: ...
    def json(self, value: Any) -> Json: ...
    def read_cbor(self, value: Cbor) -> object: ...
    def read_json(self, value: Json) -> object: ...


@dataclass(frozen=True, slots=True)
class _Bytes:
    least: int
    most: int

    def cbor(self, value: bytes) -> Cbor:
        return value

    def json(self, value: bytes) -> Json:
        return base64url(value)

    def read_cbor(self, value: Cbor) -> object:
        return value if isinstance(value, bytes) and self.least <= len(value) <= self.most else None

    def read_json(self, value: Json) -> object:
        return self.read_cbor(from_base64url(value)) if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class _Number:
    most: int

    def cbor(self, value: int) -> Cbor:
        return value

    def json(self, value: int) -> Json:
        return value

    def read_cbor(self, value: Cbor) -> object:
        return value if type(value) is int and 0 <= value <= self.most else None

    def read_json(self, value: Json) -> object:
        return value if type(value) is int and 0 <= value <= self.most else None


@dataclass(frozen=True, slots=True)
class _Text:
    most: int

    def cbor(self, value: str) -> Cbor:
        return value

    def json(self, value: str) -> Json:
        return value

    def read_cbor(self, value: Cbor) -> object:
        return self._read(value)

    def read_json(self, value: Json) -> object:
        return self._read(value)

    def _read(self, value: object) -> object:
        return value if isinstance(value, str) and len(value) <= self.most and value.isprintable() else None


@dataclass(frozen=True, slots=True)
class _Flag:
    def cbor(self, value: bool) -> Cbor:  # noqa: FBT001 - a claim's value
        return value

    def json(self, value: bool) -> Json:  # noqa: FBT001 - as above
        return value

    def read_cbor(self, value: Cbor) -> object:
        return value if isinstance(value, bool) else None

    def read_json(self, value: Json) -> object:
        return value if isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class _Words:
    """Numbers in CBOR, words in JSON."""

    words: tuple[tuple[int, str], ...]

    def cbor(self, value: int) -> Cbor:
        return value

    def json(self, value: int) -> Json:
        return dict(self.words)[value]

    def read_cbor(self, value: Cbor) -> object:
        return value if type(value) is int and value in dict(self.words) else None

    def read_json(self, value: Json) -> object:
        return next((number for number, word in self.words if word == value), None)


@dataclass(frozen=True, slots=True)
class _Version:
    """[version], RFC 9711 4.2.7."""

    def cbor(self, value: str) -> Cbor:
        return [value]

    def json(self, value: str) -> Json:
        return [value]

    def read_cbor(self, value: Cbor) -> object:
        return _Text(64).read_cbor(value[0]) if isinstance(value, list) and len(value) == 1 else None

    def read_json(self, value: Json) -> object:
        return _Text(64).read_json(value[0]) if isinstance(value, list) and len(value) == 1 else None


@dataclass(frozen=True, slots=True)
class _Oid:
    """An object identifier: contents of its DER in CBOR, dotted in JSON (RFC 9711 4.3.2); only one is ever written."""

    def cbor(self, value: str) -> Cbor:
        return oid_contents(value)

    def json(self, value: str) -> Json:
        return value

    def read_cbor(self, value: Cbor) -> object:
        return PROFILE if value == oid_contents(PROFILE) else None

    def read_json(self, value: Json) -> object:
        return PROFILE if value == PROFILE else None


def oid_contents(dotted: str) -> bytes:
    """Return the contents of an object identifier in DER (X.690 8.19)."""
    first, second, *rest = map(int, dotted.split("."))
    contents = bytearray()
    for arc in (40 * first + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        contents.extend(reversed(groups))
    return bytes(contents)


@dataclass(frozen=True, slots=True)
class _Claim:
    attribute: str
    label: int
    name: str
    kind: _Kind
    required: bool = True


_DIGEST = _Bytes(32, 32)
_CLAIMS = (
    _Claim("issued_at", 6, "iat", _Number((1 << 53) - 1)),
    _Claim("nonce", 10, "eat_nonce", _Bytes(8, 64)),
    _Claim("ueid", 256, "ueid", _Bytes(33, 33)),
    _Claim("hardware", 259, "hwmodel", _Bytes(1, 32)),
    _Claim("debug", 263, "dbgstat", _Words(((0, "enabled"), (1, "disabled")))),
    _Claim("profile", 265, "eat_profile", _Oid()),
    _Claim("runtime", 270, "swname", _Text(64)),
    _Claim("runtime_version", 271, "swversion", _Version()),
    _Claim("intended_use", 275, "intuse", _Words(((1, "generic"), (3, "provisioning"), (4, "csr"), (5, "pop")))),
    _Claim("measurement", -76000, "belljar.measurement", _Bytes(32, 64)),
    _Claim("signer", -76001, "belljar.signer", _DIGEST, required=False),
    _Claim("product_id", -76002, "belljar.product-id", _Number((1 << 32) - 1)),
    _Claim("svn", -76003, "belljar.svn", _Number(0xFFFF)),
    _Claim("provider", -76004, "belljar.provider", _Bytes(20, 32)),
    _Claim("report_data", -76005, "belljar.report-data", _Bytes(64, 64)),
    _Claim("purpose", -76006, "belljar.purpose", _Text(32)),
    _Claim("data_consistency", -76007, "belljar.data-consistency", _DIGEST, required=False),
    _Claim("argv", -76008, "belljar.argv", _DIGEST, required=False),
    _Claim("environment", -76009, "belljar.environment", _DIGEST, required=False),
    _Claim("kernel", -76010, "belljar.kernel", _Text(128)),
    _Claim("instance", -76011, "belljar.instance", _Bytes(16, 32)),
    _Claim("simulated", -76012, "belljar.simulated", _Flag()),
    _Claim("tee", -76013, "belljar.tee", _Text(32)),
    _Claim("quote_type", -76014, "belljar.quote-type", _Text(128), required=False),
    _Claim("quote", -76015, "belljar.quote", _Bytes(1, 64 * 1024), required=False),
    _Claim("quote_extra", -76016, "belljar.quote-extra", _Bytes(1, 64 * 1024), required=False),
)


def to_cbor(statement: Statement) -> dict[int | str, Cbor]:
    """Return a statement as the claims of a CWT."""
    values = {claim: getattr(statement, claim.attribute) for claim in _CLAIMS}
    return {claim.label: claim.kind.cbor(value) for claim, value in values.items() if value is not None}


def to_json(statement: Statement) -> dict[str, Json]:
    """Return a statement as the claims of a JWT."""
    values = {claim: getattr(statement, claim.attribute) for claim in _CLAIMS}
    return {claim.name: claim.kind.json(value) for claim, value in values.items() if value is not None}


def from_cbor(claims: Cbor) -> Statement:
    """Return the statement in the claims of a CWT.

    Raises:
        EvidenceRefused: a claim is unknown, missing, or not of its type.
    """
    if not isinstance(claims, dict):
        raise EvidenceRefused("a token's payload is not a map of claims")
    given = dict(claims)
    found = {claim: claim.kind.read_cbor(given.pop(claim.label)) for claim in _CLAIMS if claim.label in given}
    return _statement(found, len(given))


def from_json(claims: Json) -> Statement:
    """Return the statement in the claims of a JWT.

    Raises:
        EvidenceRefused: a claim is unknown, missing, or not of its type.
    """
    if not isinstance(claims, dict):
        raise EvidenceRefused("a token's payload is not an object of claims")
    given = dict(claims)
    found = {claim: claim.kind.read_json(given.pop(claim.name)) for claim in _CLAIMS if claim.name in given}
    return _statement(found, len(given))


def _statement(found: dict[_Claim, object], unknown: int) -> Statement:
    """Return a statement once nothing is missing, wrong or unknown."""
    values: dict[str, Any] = dict.fromkeys(item.name for item in fields(Statement))
    for claim in _CLAIMS:
        if claim.required and claim not in found:
            raise EvidenceRefused(f"the token does not claim {claim.name}")
        if claim in found and found[claim] is None:
            raise EvidenceRefused(f"the token's claim {claim.name} is not as the profile has it")
        values[claim.attribute] = found.get(claim)
    if unknown:
        raise EvidenceRefused(f"the token has {unknown} claims that the profile does not know")
    return Statement(**values)

"""OpenDiceInput: the certificate extension that says which inputs a layer's key follows from (Open Profile for DICE).

In come inputs; out come DER bytes, and back. The mode is written as ENUMERATED, as the profile's own implementation
does and its vectors hold, though its text says INTEGER. Anything but the one encoding we write is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cryptography.hazmat import asn1

from belljar.attestation.errors import EvidenceRefused

from .inputs import INPUT_BYTES, DiceInputs, Mode

OID = "1.3.6.1.4.1.11129.2.1.24"
MAX_BYTES = 4096


@asn1.sequence
class _OpenDiceInput:
    code_hash: Annotated[bytes, asn1.Explicit(0)]
    code_descriptor: Annotated[bytes | None, asn1.Explicit(1)]
    configuration_hash: Annotated[bytes | None, asn1.Explicit(2)]
    configuration_descriptor: Annotated[bytes, asn1.Explicit(3)]
    authority_hash: Annotated[bytes, asn1.Explicit(4)]
    authority_descriptor: Annotated[bytes | None, asn1.Explicit(5)]
    mode: Annotated[asn1.TLV, asn1.Explicit(6)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a layer's certificate shows of its inputs: all but the hidden one.

    Attributes:
        code: 64 bytes.
        code_descriptor: what they were computed from, or empty.
        configuration: the descriptor, or the 64 bytes themselves.
        authority: 64 bytes.
        authority_descriptor: what they were computed from, or empty.
        mode: how the layer runs.
    """

    code: bytes
    code_descriptor: bytes
    configuration: bytes
    authority: bytes
    authority_descriptor: bytes
    mode: Mode


def encode(inputs: DiceInputs) -> bytes:
    """Return the extension's value."""
    return asn1.encode_der(
        _OpenDiceInput(
            code_hash=inputs.code,
            code_descriptor=inputs.code_descriptor or None,
            configuration_hash=None if inputs.inline else inputs.configuration_input,
            configuration_descriptor=inputs.configuration,
            authority_hash=inputs.authority,
            authority_descriptor=inputs.authority_descriptor or None,
            mode=asn1.decode_der(asn1.TLV, bytes((0x0A, 0x01, inputs.mode))),
        )
    )


def decode(value: bytes) -> Shown:
    """Return what an extension's value shows.

    Raises:
        EvidenceRefused: it is anything but what `encode` writes.
    """
    if len(value) > MAX_BYTES:
        raise EvidenceRefused(f"DICE inputs of {len(value)} bytes, expected at most {MAX_BYTES}")
    try:
        found = asn1.decode_der(_OpenDiceInput, value)
        mode = Mode(int.from_bytes(found.mode.data, "big"))
    except ValueError as error:
        raise EvidenceRefused(f"not the DICE inputs of a layer: {error}") from error
    inputs = _inputs(found, mode)
    if inputs is None or encode(inputs) != value:
        raise EvidenceRefused("not the DICE inputs of a layer: other sizes or another encoding than the profile's")
    return Shown(
        code=inputs.code,
        code_descriptor=inputs.code_descriptor,
        configuration=inputs.configuration,
        authority=inputs.authority,
        authority_descriptor=inputs.authority_descriptor,
        mode=inputs.mode,
    )


def _inputs(found: _OpenDiceInput, mode: Mode) -> DiceInputs | None:
    """Return the inputs an extension stands for, with a hidden one of zeros; None if the sizes are wrong."""
    try:
        return DiceInputs(
            code=found.code_hash,
            code_descriptor=found.code_descriptor or b"",
            configuration=found.configuration_descriptor,
            authority=found.authority_hash,
            authority_descriptor=found.authority_descriptor or b"",
            mode=mode,
            hidden=bytes(INPUT_BYTES),
            inline=found.configuration_hash is None,
        )
    except ValueError:
        return None

"""An enclave as a DICE layer: which of its facts go into which input, and how they are read back.

code        SHA-512 of the code descriptor: "belljar.measurement/1" ‖ measurement (32)
config      deterministic CBOR {-70002: "belljar enclave", -70005: svn, "product": product id}: the labels are those
of Android's profile, the one others use
authority   SHA-512 of the authority descriptor: "belljar.signer/1" ‖ signer id (32); zeros for who nobody signed
mode        normal, or debug
hidden      SHA-512 of "belljar.product/1" ‖ product id (4, big endian): products of one signer share no keys
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.cbor import decode, encode
from belljar.attestation.errors import CborRefused, EvidenceRefused

from . import extension
from .inputs import INPUT_BYTES, DiceInputs, Mode

if TYPE_CHECKING:
    from belljar.attestation.cbor import Cbor

    from .extension import Shown

DIGEST_BYTES = 32
MAX_SVN = 0xFFFF  # SGX's ISVSVN has as many bits; the sealing ladder has as many rungs
MAX_PRODUCT_ID = 0xFFFFFFFF
_MEASUREMENT = b"belljar.measurement/1"
_SIGNER = b"belljar.signer/1"
_PRODUCT = b"belljar.product/1"
_COMPONENT, _SECURITY_VERSION, _PRODUCT_ID = -70002, -70005, "product"
_COMPONENT_NAME = "belljar enclave"


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclave:
    """Who an enclave is.

    Attributes:
        measurement: 32 bytes.
        signer: the signer id, 32 bytes; None if nobody signed.
        product_id: 0 to 2^32 - 1, the signer's.
        svn: 0 to 65 535.
        debug: whether the owner of the machine may look inside.
    """

    measurement: bytes
    signer: bytes | None
    product_id: int
    svn: int
    debug: bool

    def __post_init__(self) -> None:
        """Refuse facts that have no place in the inputs."""
        if len(self.measurement) != DIGEST_BYTES or len(self.signer or self.measurement) != DIGEST_BYTES:
            raise ValueError(f"measurement and signer id must have {DIGEST_BYTES} bytes")
        if not 0 <= self.product_id <= MAX_PRODUCT_ID:
            raise ValueError(f"product id {self.product_id}, expected 0 to {MAX_PRODUCT_ID}")
        if not 0 <= self.svn <= MAX_SVN:
            raise ValueError(f"security version {self.svn}, expected 0 to {MAX_SVN}")

    @property
    def inputs(self) -> DiceInputs:
        """The inputs its secrets follow from."""
        code = _MEASUREMENT + self.measurement
        authority = _SIGNER + self.signer if self.signer else b""
        product = _PRODUCT + self.product_id.to_bytes(4, "big")
        return DiceInputs(
            code=hashlib.sha512(code).digest(),
            code_descriptor=code,
            configuration=encode(
                {_COMPONENT: _COMPONENT_NAME, _SECURITY_VERSION: self.svn, _PRODUCT_ID: self.product_id}
            ),
            authority=hashlib.sha512(authority).digest() if authority else bytes(INPUT_BYTES),
            authority_descriptor=authority,
            mode=Mode.DEBUG if self.debug else Mode.NORMAL,
            hidden=hashlib.sha512(product).digest(),
        )


def shown_enclave(shown: Shown) -> Enclave:
    """Return the enclave whose inputs a certificate shows.

    Raises:
        EvidenceRefused: they are no enclave's.
    """
    measurement = shown.code_descriptor.removeprefix(_MEASUREMENT)
    signer = shown.authority_descriptor.removeprefix(_SIGNER) or None
    try:
        configuration = decode(shown.configuration)
    except CborRefused as error:
        raise EvidenceRefused(f"the layer's configuration is not ours: {error}") from error
    svn, product = _numbers(configuration)
    try:
        found = Enclave(
            measurement=measurement, signer=signer, product_id=product, svn=svn, debug=shown.mode is Mode.DEBUG
        )
    except ValueError as error:
        raise EvidenceRefused(f"the layer is not an enclave: {error}") from error
    if extension.decode(extension.encode(found.inputs)) != shown:
        raise EvidenceRefused("the layer is not an enclave: its inputs are not those of what it describes")
    return found


def _numbers(configuration: Cbor) -> tuple[int, int]:
    if isinstance(configuration, dict):
        svn, product = configuration.get(_SECURITY_VERSION), configuration.get(_PRODUCT_ID)
        if type(svn) is int and type(product) is int:
            return svn, product
    raise EvidenceRefused("the layer's configuration names no security version and product")

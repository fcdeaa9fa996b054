"""`tpm`: a root of trust whose secret only one TPM unseals, and whose evidence that TPM quotes.

In come a TPM, a folder and the time; out comes a root. The folder's file holds no secret in the clear: the platform's
secret is sealed by the TPM, under PCRs if the person names some. The platform's certificate is made once the TPM has
proven that it holds the key whose quotes go with it. Each quote covers all PCRs of the SHA-256 bank.

The file `tpm.platform`: magic "BJTPM001" ‖ deterministic CBOR [algorithm, kind, sealed public, sealed private, PCRs,
platform certificate, CA certificate] ‖ SHA-256 of both.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from belljar.attestation.canonical import canonical_bytes
from belljar.attestation.cbor import Cbor, decode, encode
from belljar.attestation.claims import Tee
from belljar.attestation.crypto.compare import same
from belljar.attestation.crypto.kdf import derive
from belljar.attestation.dice.certificate import (
    PlatformFacts,
    Validity,
    ca_certificate,
    layer_certificate,
    platform_certificate,
)
from belljar.attestation.dice.keypair import key_id, key_pair
from belljar.attestation.errors import CborRefused, PlatformRefused
from belljar.attestation.keys import PublicKey, SigningKey, generate
from belljar.attestation.tpm import counter
from belljar.attestation.tpm.codes import ENDORSEMENT
from belljar.attestation.tpm.enrolment import answer, challenge, offer
from belljar.attestation.tpm.objects import AK_TEMPLATE, parse_public
from belljar.attestation.tpm.policy import pcr_digest, pcr_policy
from belljar.attestation.tpm.sealing import SealedObject, seal, unseal
from belljar.attestation.tpm.wire import PCR_COUNT

from .files import StateFolder, open_folder
from .layout import Generation, generation
from .memory import SecretMemory
from .root import HardwareQuote, PlatformId
from .soft import CERTIFICATE_YEARS, YEAR_S, Birth

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from cryptography import x509

    from belljar.attestation.canonical import Json
    from belljar.attestation.dice.inputs import DiceInputs
    from belljar.attestation.tpm.client import Tpm

NAME = "tpm.platform"
MEDIA_TYPE = "application/vnd.belljar.tpm-quote+json"
_MAGIC = b"BJTPM001"
_MAX_BYTES = 64 * 1024
_SECRET_BYTES, _DIGEST_BYTES = 32, 32
_CLOCK_SKEW_S = 300
_QUOTE_TRIES = 5
_STRENGTHS = {
    "tpm": "a TPM chip: no other machine gets its secret, and root on this one can forge evidence while it runs",
    "swtpm": "a software TPM, or one whose maker nobody vouches for: who runs it can copy its state and set it back",
}
_ALL = tuple(range(PCR_COUNT))


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmState:
    """What the file holds.

    Attributes:
        kind: `tpm` or `swtpm`, as it was found on enrolment.
        sealed: the platform's secret.
        pcrs: what it is sealed under; empty for none.
        generation: algorithm and certificates.
    """

    kind: str
    sealed: SealedObject
    pcrs: tuple[int, ...]
    generation: Generation


class TpmRoot:
    """A root of trust in a TPM; see `RootOfTrust` for what each method does. Close it when done."""

    kind = "tpm"
    tee = Tee.TPM

    def __init__(self, tpm: Tpm, memory: SecretMemory, state: TpmState) -> None:
        self._tpm = tpm
        self._memory = memory
        self._state = state
        self._key = key_pair(state.generation.algorithm, memory.view[:_SECRET_BYTES])
        if not same(key_id(self._key.public), state.generation.platform):
            raise PlatformRefused(f"{NAME}: the secret is not that of the certified platform")

    @property
    def strength(self) -> str:
        """One sentence."""
        return _STRENGTHS[self._state.kind]

    @property
    def simulated(self) -> bool:
        """Whether nobody knows this TPM to be a chip."""
        return self._state.kind != "tpm"

    @property
    def platform(self) -> PlatformId:
        """The platform's name."""
        return self._state.generation.platform

    @property
    def algorithm(self) -> str:
        """The algorithm of the platform's key and of everything below it."""
        return self._state.generation.algorithm

    @property
    def chain(self) -> tuple[bytes, ...]:
        """Certificates of the platform and of its CA."""
        return self._state.generation.certificate, self._state.generation.ca

    def derive(self, salt: bytes, info: bytes, *, platform: PlatformId | None = None) -> bytes:
        """Return 32 bytes that follow from the secret."""
        if platform is not None and not same(platform, self.platform):
            raise PlatformRefused(f"this platform is {self.platform.hex()} and was never {platform.hex()}")
        return derive(_SECRET_BYTES, self._memory.view[:_SECRET_BYTES], salt, info)

    def certify(self, inputs: DiceInputs, subject: PublicKey) -> bytes:
        """Return a layer's certificate."""
        return layer_certificate(self._key, subject, inputs)

    def quote(self, report_data: bytes) -> HardwareQuote | None:
        """Return the TPM's quote over 64 bytes and all PCRs, as Trustee's verifiers read it."""
        with self._awake() as tpm, tpm.primary(ENDORSEMENT, AK_TEMPLATE) as key:
            public = parse_public(key.public).key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            for _ in range(_QUOTE_TRIES):  # somebody may extend a PCR between reading and quoting
                values = tpm.pcrs(_ALL)
                made = tpm.quote(key.handle, report_data, _ALL)
                if made.attest.endswith(pcr_digest(values)):
                    break
            else:
                raise PlatformRefused("the TPM's PCRs change faster than they can be quoted")
        content: dict[str, Json] = {
            "message": _base64(made.attest),
            "pcrs": [values[number].hex() for number in _ALL],
            "signature": _base64(made.signature),
        }
        evidence = canonical_bytes({"ak_public": _base64(public), "tpm_quote": content})
        return HardwareQuote(media_type=MEDIA_TYPE, content=evidence)

    def count(self) -> int:
        """Return the counter that the TPM keeps for this platform."""
        with self._awake() as tpm:
            return counter.current(tpm, counter.index_of(self.platform))

    def count_up(self) -> int:
        """Add one to it."""
        with self._awake() as tpm:
            return counter.count_up(tpm, counter.index_of(self.platform))

    @contextmanager
    def _awake(self) -> Generator[Tpm]:
        """Use the TPM, then let others have it: an enclave keeps its root open for as long as it runs."""
        try:
            yield self._tpm
        finally:
            self._tpm.rest()

    def close(self) -> None:
        """Zero the secret and let go of the TPM."""
        self._memory.close()
        self._tpm.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close."""
        self.close()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmBirth:
    """What a platform in a TPM is made from.

    Attributes:
        birth: random source, time and algorithm.
        makers: certificates of TPM makers whose endorsement certificates are believed.
        pcrs: the secret will be unsealed only while these hold what they hold now; empty for always.
    """

    birth: Birth
    makers: tuple[x509.Certificate, ...] = ()
    pcrs: tuple[int, ...] = ()


def make_tpm(path: str, tpm: Tpm, wanted: TpmBirth) -> TpmRoot:
    """Return the platform of a TPM, enrolled and made if the folder holds none.

    Raises:
        PlatformRefused: it cannot be made, or the file is damaged or others can read it.
        SealRefused: another TPM made it, or its PCRs hold something else now.
        EvidenceRefused: the TPM's proof does not hold.
    """
    folder = open_folder(path, create=True)
    try:
        with folder.locked():
            if not folder.holds(NAME):
                folder.write(NAME, _packed(_enrolled(tpm, wanted)), replace=False)
            return _opened(folder, tpm)
    finally:
        folder.close()


def open_tpm(path: str, tpm: Tpm) -> TpmRoot:
    """Return the platform of a TPM.

    Raises:
        PlatformRefused: there is none, or the file is damaged or others can read it.
        SealRefused: another TPM made it, or its PCRs hold something else now.
    """
    folder = open_folder(path, create=False)
    try:
        with folder.locked():
            return _opened(folder, tpm)
    finally:
        folder.close()


def _opened(folder: StateFolder, tpm: Tpm) -> TpmRoot:
    fd = folder.open(NAME)
    if fd is None:
        raise PlatformRefused(f"{folder.path}: there is no platform", hint="belljar platform init makes one")
    with open(fd, "rb") as file:
        state = _unpacked(file.read(_MAX_BYTES + 1), f"{folder.path}/{NAME}")
    memory = SecretMemory(_SECRET_BYTES)
    try:
        memory.view[:_SECRET_BYTES] = _secret(tpm, state, f"{folder.path}/{NAME}")
        made = TpmRoot(tpm, memory, state)
    except BaseException:
        memory.close()
        raise
    tpm.rest()
    return made


def _secret(tpm: Tpm, state: TpmState, name: str) -> bytes:
    found = unseal(tpm, state.sealed, state.pcrs or _NEVER_CHANGED)
    if len(found) != _SECRET_BYTES:
        raise PlatformRefused(f"{name}: {len(found)} bytes sealed, expected {_SECRET_BYTES}")
    return found


_NEVER_CHANGED = (23,)  # no policy without a PCR: this one is the application's, zero unless somebody uses it


def _enrolled(tpm: Tpm, wanted: TpmBirth) -> TpmState:
    """Return a new platform whose CA has seen that the TPM holds the key that quotes."""
    birth = wanted.birth
    asked = challenge(offer(tpm), wanted.makers, birth.now, birth.random)
    asked.check(answer(tpm, asked.credential))
    secret = derive(_SECRET_BYTES, birth.random(32) + tpm.random(32), b"", b"belljar.uds/1")
    key = key_pair(birth.algorithm, secret)
    sealed = seal(tpm, secret, pcr_policy(tpm.pcrs(wanted.pcrs or _NEVER_CHANGED)))
    facts = PlatformFacts(kind=asked.kind, attestation_key=asked.attestation_key)
    return TpmState(
        kind=asked.kind, sealed=sealed, pcrs=tuple(sorted(wanted.pcrs)), generation=_certified(key, facts, birth)
    )


def _certified(key: SigningKey, facts: PlatformFacts, birth: Birth) -> Generation:
    """Return certificates by a CA whose key signs once and is forgotten."""
    validity = Validity(start=birth.now - _CLOCK_SKEW_S, end=birth.now + CERTIFICATE_YEARS * YEAR_S)
    authority = generate(birth.algorithm)
    ca = ca_certificate(authority, facts.kind, validity)
    certificate = platform_certificate(authority, ca, key.public, facts, validity)
    return generation(birth.algorithm, certificate, ca, NAME)


def _packed(state: TpmState) -> list[bytes | memoryview]:
    pcrs: list[Cbor] = list(state.pcrs)
    body = _MAGIC + encode(
        [
            state.generation.algorithm, state.kind, state.sealed.public, state.sealed.private, pcrs,
            state.generation.certificate, state.generation.ca,
        ]
    )  # fmt: skip
    return [body, hashlib.sha256(body).digest()]


def _unpacked(content: bytes, name: str) -> TpmState:
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if not body.startswith(_MAGIC) or len(content) > _MAX_BYTES or not same(hashlib.sha256(body).digest(), digest):
        raise PlatformRefused(f"{name}: damaged, or not a platform of format {_MAGIC.decode()}")
    try:
        items = decode(body[len(_MAGIC) :])
    except CborRefused as error:
        raise PlatformRefused(f"{name}: {error}") from error
    if not isinstance(items, list) or len(items) != 7:
        raise PlatformRefused(f"{name}: damaged: expected seven parts")
    texts = [item for item in items[:2] if isinstance(item, str)]
    parts = [item for item in (*items[2:4], *items[5:]) if isinstance(item, bytes)]
    pcrs = [item for item in items[4] if isinstance(item, int)] if isinstance(items[4], list) else [-1]
    if len(texts) != 2 or len(parts) != 4 or texts[1] not in _STRENGTHS or not set(pcrs) <= set(_ALL):
        raise PlatformRefused(f"{name}: damaged: a part is not of its type")
    return TpmState(
        kind=texts[1],
        sealed=SealedObject(public=parts[0], private=parts[1]),
        pcrs=tuple(pcrs),
        generation=generation(texts[0], parts[2], parts[3], name),
    )

"""Make a header, and open one: from a container and a credential to the volume key.

A credential is tried on the slots of its kind, in order. What a header says is believed once its MAC holds under the
key that a slot gave. Nothing is written before that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from belljar.fs.errors import CredentialRefused, VolumeRefused
from belljar.fs.volume.slots.binding import slot_binding, unwrap, wrap
from belljar.fs.volume.slots.kinds import check_slots, credential_name, kind_name
from belljar.fs.volume.slots.secret import secret_of

from . import layout
from .encode import encode_copy, label_bytes
from .model import Header, Slot
from .parse import verify_mac
from .store import heal, read_copies, write_copies

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from belljar.fs.volume.slots.kinds import Credential, Enrolment
    from belljar.fs.volume.slots.secret import SecretKey

    from .store import Copies, Copy, Region


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlocked:
    """An opened volume: close it to wipe the key.

    Attributes:
        volume_id: 16 bytes.
        key: the volume key, 32 bytes.
        header: what the verified header says.
        slot: number of the slot that was opened.
        copy: which copy of the header was read, 0 or 1.
        notes: what was found odd, and healed if the container was writable.
    """

    volume_id: bytes
    key: SecretKey
    header: Header
    slot: int
    copy: int
    notes: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wipe the key."""
        self.key.close()


def format_header(
    region: Region, enrolment: Enrolment, *, label: str = "", created_s: int, random: Callable[[int], bytes]
) -> Unlocked:
    """Write the header of a new volume, with a fresh key and one slot; durable on return.

    Args:
        region: the new container; what it holds in its first 128 KiB is overwritten.
        enrolment: whom the first slot is for.
        label: what to call the slot; anybody who reads the container reads it.
        created_s: time of the caller's clock, in seconds since 1970.
        random: returns that many random bytes.

    Raises:
        VolumeRefused: the label or the credential cannot be used.
    """
    key = secret_of(random(layout.KEY_BYTES))
    try:
        volume_id = random(layout.VOLUME_ID_BYTES)
        slot = make_slot(volume_id, key, enrolment, number=0, label=label, random=random)
        header = Header(volume_id=volume_id, generation=1, created_s=created_s, slots=(slot,))
        write_copies(region, encode_copy(header, mac_key(key, volume_id)), newest=1)
    except BaseException:
        key.close()
        raise
    return Unlocked(volume_id=volume_id, key=key, header=header, slot=0, copy=0)


def make_slot(
    volume_id: bytes, key: SecretKey, enrolment: Enrolment, *, number: int, label: str, random: Callable[[int], bytes]
) -> Slot:
    """Return a slot that wraps the volume key for somebody."""
    binding = slot_binding(volume_id, number, enrolment.kind, label_bytes(label))
    parameters, under = enrolment.enroll(binding, random)
    with under:
        wrapped = wrap(key, under, binding + parameters, random)
    return Slot(number=number, kind=enrolment.kind, label=label, parameters=parameters, wrapped=wrapped)


def unlock(region: Region, credential: Credential, *, writable: bool = True, slot: int | None = None) -> Unlocked:
    """Open a volume's header.

    Args:
        region: the container.
        credential: what opens a slot.
        writable: whether a damaged or older copy is overwritten with the verified one.
        slot: try this slot only.

    Raises:
        CredentialRefused: no slot opens; with a passphrase, wrong and tampered cannot be told apart.
        VolumeRefused: not a volume, damaged, tampered with, or of another version.
    """
    copies = read_copies(region)
    for copy in copies.whole:
        check_slots((each.kind, each.parameters) for each in copy.header.slots)
        key, number = _open(copy.header, credential, slot)
        if verify_mac(copy.raw, mac_key(key, copy.header.volume_id)):
            return _opened(region, copies, copy, key, number, writable=writable)
        key.close()
    raise VolumeRefused(
        "the header was changed by somebody without the volume key: a slot opens, and the header's MAC does not hold",
        hint="restore it from a backup: belljar volume restore",
    )


def _opened(region: Region, copies: Copies, copy: Copy, key: SecretKey, number: int, *, writable: bool) -> Unlocked:
    others = [other for other in copies.whole if other.number != copy.number and other.raw != copy.raw]
    rivals = [other for other in others if other.header.generation == copy.header.generation]
    if rivals and verify_mac(rivals[0].raw, mac_key(key, copy.header.volume_id)):
        key.close()
        raise VolumeRefused(f"two different headers of generation {copy.header.generation}: it was tampered with")
    notes = [f"copy {other} of the header was damaged: {why}" for other, why in copies.damaged]
    notes += [f"copy {other.number} of the header was of generation {other.header.generation}" for other in others]
    if notes and writable:
        heal(region, copy)
    return Unlocked(
        volume_id=copy.header.volume_id,
        key=key,
        header=copy.header,
        slot=number,
        copy=copy.number,
        notes=tuple(notes),
    )


def _open(header: Header, credential: Credential, number: int | None) -> tuple[SecretKey, int]:
    reasons: list[str] = []
    chosen = header.slots if number is None else (header.slot(number),)
    for slot in chosen:
        if slot.kind != credential.kind:
            continue
        binding = slot_binding(header.volume_id, slot.number, slot.kind, label_bytes(slot.label))
        try:
            with credential.open(slot.parameters, binding) as under:
                return unwrap(slot.wrapped, under, binding + slot.parameters), slot.number
        except CredentialRefused as error:
            reasons.append(f"slot {slot.number}: {error}")
    raise _refused(header, credential, reasons)


def _refused(header: Header, credential: Credential, reasons: list[str]) -> CredentialRefused:
    if not reasons:
        kinds = ", ".join(sorted({kind_name(slot.kind) for slot in header.slots})) or "none"
        return CredentialRefused(f"the volume has no {kind_name(credential.kind)} slot to try", hint=f"it has: {kinds}")
    what, tried = credential_name(credential.kind), "; ".join(reasons)
    return CredentialRefused(
        f"the {what} opens no key slot: it is wrong, or the slots were changed, which cannot be told apart ({tried})"
    )


def mac_key(key: SecretKey, volume_id: bytes) -> bytes:
    """Return the key of the header's MAC."""
    with key.view() as view:
        return HKDF(algorithm=SHA256(), length=32, salt=volume_id, info=layout.MAC_INFO).derive(view)

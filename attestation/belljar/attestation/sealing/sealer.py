"""Seal and unseal for one enclave on one platform.

In come a root of trust, who the enclave is, and a random source; plaintext goes out sealed and comes back. What was
sealed on an older generation of the same platform opens; on another platform, for another signer or measurement, in
another mode or by a newer version it does not, and the refusal says which of these it was. Secrets are derived for
each call and kept nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from belljar.attestation.crypto.compare import same
from belljar.attestation.crypto.kdf import derive
from belljar.attestation.dice.inputs import ATTEST_INFO, SEAL_INFO
from belljar.attestation.errors import PlatformRefused, SealRefused

from .ladder import stand
from .layout import MAX_PLAINTEXT_BYTES, SALT_BYTES, Header, Policy, SealedBlob, associated, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.attestation.dice.enclave import Enclave
    from belljar.attestation.roots.root import RootOfTrust

_MEASUREMENT_INFO = b"belljar.seal/1 measurement"
_KEY_INFO = b"belljar.seal/1 key"
_KEY_BYTES, _NONCE_BYTES = 32, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealer:
    """Seals for an enclave.

    Attributes:
        root: what the keys follow from.
        enclave: who seals and unseals.
        random: gives unpredictable bytes, such as `os.urandom`.
    """

    root: RootOfTrust
    enclave: Enclave
    random: Callable[[int], bytes]

    def seal(self, plaintext: bytes, policy: Policy, associated_bytes: bytes = b"") -> SealedBlob:
        """Return plaintext sealed.

        Args:
            plaintext: at most 1 MiB.
            policy: who can unseal.
            associated_bytes: must be given again to unseal; not kept.

        Raises:
            SealRefused: it is too long, or the policy asks for a signer and there is none.
            RootCannot: this kind of root derives no keys.
        """
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise SealRefused(f"{len(plaintext)} bytes to seal, expected at most {MAX_PLAINTEXT_BYTES}")
        header = Header(
            policy=policy,
            svn=self.enclave.svn,
            mode=self.enclave.inputs.mode,
            platform=self.root.platform,
            product_id=self.enclave.product_id,
            owner=self._owner(policy),
            salt=self.random(SALT_BYTES),
        )
        key, nonce = self._key(header)
        packed = header.pack()
        return SealedBlob(packed + AESGCM(key).encrypt(nonce, plaintext, associated(packed, associated_bytes)))

    def unseal(self, blob: bytes, associated_bytes: bytes = b"") -> bytes:
        """Return the plaintext of something sealed.

        Args:
            blob: as `seal` gave it.
            associated_bytes: as given to `seal`.

        Raises:
            SealRefused: it is not for this enclave, version or platform, or it was changed.
            RootCannot: this kind of root derives no keys.
        """
        header, ciphertext = unpack(blob)
        self._check(header)
        try:
            key, nonce = self._key(header)
        except PlatformRefused as error:
            raise SealRefused(
                f"sealed on platform {header.platform.hex()}, this is {self.root.platform.hex()}",
                hint="sealed data opens where it was sealed; restore it through another key slot, or the key broker",
            ) from error
        try:
            return AESGCM(key).decrypt(nonce, ciphertext, associated(header.pack(), associated_bytes))
        except InvalidTag as error:
            raise SealRefused("changed since it was sealed, or the associated data is not that of sealing") from error

    def _owner(self, policy: Policy) -> bytes:
        if policy is Policy.MEASUREMENT:
            return self.enclave.measurement
        if self.enclave.signer is None:
            hint = "sign it with belljar build --key, or seal with policy measurement"
            raise SealRefused("policy signer, but nobody signed this enclave", hint=hint)
        return self.enclave.signer

    def _check(self, header: Header) -> None:
        """Say why this enclave cannot unseal, before the cipher would say only that it cannot."""
        owner = self._owner(header.policy)
        if not same(header.owner, owner):
            name = "measurement" if header.policy is Policy.MEASUREMENT else "signer"
            raise SealRefused(f"sealed for {name} {header.owner.hex()}, this is {owner.hex()}")
        if header.product_id != self.enclave.product_id:
            raise SealRefused(f"sealed for product {header.product_id}, this is {self.enclave.product_id}")
        if header.mode is not self.enclave.inputs.mode:
            raise SealRefused(
                f"sealed in {header.mode.name.lower()} mode, this runs in {self.enclave.inputs.mode.name.lower()} mode"
            )
        if header.policy is Policy.MEASUREMENT and header.svn != self.enclave.svn:
            raise SealRefused(f"sealed by security version {header.svn}, this is {self.enclave.svn}")

    def _key(self, header: Header) -> tuple[bytes, bytes]:
        """Return key and nonce of one sealed blob; the salt in its header makes them its own."""
        inputs, platform = self.enclave.inputs, header.platform
        if header.policy is Policy.MEASUREMENT:
            cdi = self.root.derive(inputs.attest_salt, ATTEST_INFO, platform=platform)
            secret = derive(_KEY_BYTES, cdi, b"", _MEASUREMENT_INFO)
        else:
            cdi = self.root.derive(inputs.seal_salt, SEAL_INFO, platform=platform)
            secret = stand(cdi, self.enclave.svn).key(header.svn)
        both = derive(_KEY_BYTES + _NONCE_BYTES, secret, header.pack(), _KEY_INFO)
        return both[:_KEY_BYTES], both[_KEY_BYTES:]

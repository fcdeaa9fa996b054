"""The client: one command out, one answer in; what it loads it flushes (TPM 2.0 Library part 3).

In comes a transport; out come typed answers, or a `TpmError` with the TPM's own name for what is wrong. Authorization
values are empty: what protects a key here is its policy and who may reach the TPM. Nothing is encrypted between here
and the TPM: whoever can listen on the bus of a separate chip sees what is unsealed.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from belljar.attestation.errors import PlatformRefused

from .codes import (
    CAP_HANDLES,
    LOADED_SESSION,
    NO_ALGORITHM,
    NO_SESSIONS,
    NULL,
    PASSWORD,
    RC_INITIALIZE,
    RC_RETRIES,
    SAVED_SESSION,
    SE_POLICY,
    SESSIONS,
    SHA256,
    TRANSIENT,
    Command,
    response_name,
)
from .wire import DIGEST_BYTES, Reader, TpmError, selection, sized, u8, u16, u32

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from types import TracebackType

    from .transport import Transport

_HEADER_BYTES = 10
_MAX_RETRIES = 50
_PCRS_AT_ONCE = 8
_NO_PCRS = u32(0)
_SESSION_KINDS = (0x02, 0x03)  # the TPM lists policy sessions (0x03) among those that are loaded (0x02)
_MAX_RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmKey:
    """A key that is loaded."""

    handle: int
    public: bytes
    name: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmQuote:
    """TPMS_ATTEST and TPMT_SIGNATURE, as the TPM made them."""

    attest: bytes
    signature: bytes


class Tpm:
    """A TPM 2.0. Close it when done.

    Args:
        transport: the way to it.
        dial: finds the way again after `rest`; None for never.
    """

    def __init__(self, transport: Transport, dial: Callable[[], Transport] | None = None) -> None:
        self._transport = transport
        self._dial = dial
        self._rests = False
        self._answers = False  # whether the last command was answered

    def start(self) -> None:
        """Send Startup where that is nobody else's business, and flush what a killed client left behind."""
        if self._transport.shared:
            return
        try:
            self.execute(Command.STARTUP, parameters=u16(0))
        except TpmError as error:
            if error.code != RC_INITIALIZE:
                raise
        for kind in (TRANSIENT, LOADED_SESSION, SAVED_SESSION):
            for handle in self.handles(kind):
                self.flush(handle)

    def rest(self) -> None:
        """Hang up where a TPM serves one client at a time; the next command comes back. Nothing may be loaded."""
        if self._dial is not None and not self._transport.shared:
            self.close()
            self._rests = True

    def _come_back(self) -> None:
        if self._rests and self._dial is not None:
            self._transport = self._dial()
            self._rests = False
            self.start()

    def close(self) -> None:
        """Hang up; where the TPM is ours alone, tell it so before, or it counts its next start as an attack."""
        if self._rests:
            return
        try:
            if self._answers and not self._transport.shared:
                self.execute(Command.SHUTDOWN, parameters=u16(0))
        except PlatformRefused:
            pass  # it is on its way out as well
        finally:
            self._transport.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Hang up."""
        self.close()

    def execute(
        self,
        command: Command,
        *,
        handles: tuple[int, ...] = (),
        sessions: tuple[int, ...] = (),
        parameters: bytes = b"",
        answers_handle: bool = False,
    ) -> Reader:
        """Return the parameters of an answer, behind its handle if there is one.

        Args:
            command: what is asked for.
            handles: of what it is about.
            sessions: who authorizes it: `PASSWORD` (empty), or a policy session, which ends with it.
            parameters: encoded.
            answers_handle: whether the answer begins with a handle.

        Raises:
            TpmError: the TPM refused.
            PlatformRefused: the answer is malformed.
        """
        body = b"".join(map(u32, handles))
        if sessions:
            area = b"".join(u32(session) + sized(b"") + u8(0) + sized(b"") for session in sessions)
            body += u32(len(area)) + area
        body += parameters
        tag = SESSIONS if sessions else NO_SESSIONS
        sent = u16(tag) + u32(_HEADER_BYTES + len(body)) + u32(command) + body
        found, code, reader = self._patient(sent)
        if code:
            raise TpmError(command, code, response_name(code))
        if found != tag:
            raise PlatformRefused(f"the TPM's answer has tag 0x{found:x}, expected 0x{tag:x}")
        return _without_sessions(reader, answers_handle=answers_handle) if sessions else reader

    def _patient(self, sent: bytes) -> tuple[int, int, Reader]:
        """Return tag, code and rest of an answer; a TPM that is busy is asked again."""
        self._come_back()
        self._answers = False
        answer = _answer(self._transport.transact(sent))
        for _ in range(_MAX_RETRIES):
            if answer[1] not in RC_RETRIES:
                break
            answer = _answer(self._transport.transact(sent))
        self._answers = True
        return answer

    def handles(self, kind: int) -> tuple[int, ...]:
        """Return the handles of one kind that are in use."""
        reader = self.execute(Command.GET_CAPABILITY, parameters=u32(CAP_HANDLES) + u32(kind) + u32(64))
        reader.number(1)
        if reader.number(4) != CAP_HANDLES:
            raise PlatformRefused("the TPM answers with another capability than it was asked for")
        count = reader.number(4)
        found = tuple(reader.number(4) for _ in range(min(count, 64)))
        reader.end()
        kinds = (kind >> 24,) if kind == TRANSIENT else _SESSION_KINDS
        return tuple(handle for handle in found if handle >> 24 in kinds)

    def flush(self, handle: int) -> None:
        """Remove something that is loaded."""
        self.execute(Command.FLUSH_CONTEXT, parameters=u32(handle)).end()

    def random(self, size: int) -> bytes:
        """Return random bytes, at most 32."""
        reader = self.execute(Command.GET_RANDOM, parameters=u16(min(size, _MAX_RANDOM_BYTES)))
        found = reader.sized()
        reader.end()
        return found

    @contextmanager
    def primary(self, hierarchy: int, template: bytes) -> Generator[TpmKey]:
        """Hold a primary key: the same template gives the same key for as long as the hierarchy's seed lives."""
        sensitive = sized(sized(b"") + sized(b""))
        reader = self.execute(
            Command.CREATE_PRIMARY, handles=(hierarchy,), sessions=(PASSWORD,), answers_handle=True,
            parameters=sensitive + sized(template) + sized(b"") + _NO_PCRS,
        )  # fmt: skip
        handle = reader.number(4)
        try:
            public = reader.sized()
            yield TpmKey(handle=handle, public=public, name=_skipped_to_name(reader))
        finally:
            self.flush(handle)

    def read_public(self, handle: int) -> TpmKey:
        """Return a key that is loaded or persistent."""
        reader = self.execute(Command.READ_PUBLIC, handles=(handle,))
        public, name = reader.sized(), reader.sized()
        reader.sized()
        reader.end()
        return TpmKey(handle=handle, public=public, name=name)

    def create(self, parent: int, template: bytes, content: bytes) -> tuple[bytes, bytes]:
        """Return public and private area of a new object under a key, holding some content."""
        sensitive = sized(sized(b"") + sized(content))
        reader = self.execute(
            Command.CREATE, handles=(parent,), sessions=(PASSWORD,),
            parameters=sensitive + sized(template) + sized(b"") + _NO_PCRS,
        )  # fmt: skip
        private, public = reader.sized(), reader.sized()
        return public, private

    @contextmanager
    def loaded(self, parent: int, public: bytes, private: bytes) -> Generator[int]:
        """Hold an object under a key."""
        reader = self.execute(
            Command.LOAD, handles=(parent,), sessions=(PASSWORD,), parameters=sized(private) + sized(public),
            answers_handle=True,
        )  # fmt: skip
        handle = reader.number(4)
        try:
            yield handle
        finally:
            self.flush(handle)

    @contextmanager
    def policy_session(self) -> Generator[int]:
        """Hold a policy session; a command that uses it may end it before."""
        reader = self.execute(
            Command.START_AUTH_SESSION, handles=(NULL, NULL),
            parameters=sized(bytes(16)) + sized(b"") + u8(SE_POLICY) + u16(NO_ALGORITHM) + u16(SHA256),
        )  # fmt: skip
        handle = reader.number(4)
        try:
            yield handle
        finally:
            if handle in self.handles(LOADED_SESSION):  # a command that used it has ended it
                self.flush(handle)

    def policy_pcr(self, session: int, pcrs: Iterable[int]) -> None:
        """Bind a session to what PCRs hold now."""
        self.execute(Command.POLICY_PCR, handles=(session,), parameters=sized(b"") + selection(pcrs)).end()

    def policy_secret(self, session: int, hierarchy: int) -> None:
        """Prove to a session that a hierarchy's authorization is known."""
        self.execute(
            Command.POLICY_SECRET, handles=(hierarchy, session), sessions=(PASSWORD,),
            parameters=sized(b"") + sized(b"") + sized(b"") + u32(0),
        )  # fmt: skip

    def unseal(self, handle: int, session: int) -> bytes:
        """Return what is in sealed data."""
        reader = self.execute(Command.UNSEAL, handles=(handle,), sessions=(session,))
        found = reader.sized()
        reader.end()
        return found

    def activate(self, handles: tuple[int, int, int], blob: bytes, secret: bytes) -> bytes:
        """Return the secret of a credential.

        Args:
            handles: of the attestation key, the endorsement key, and a session that satisfies its policy.
            blob: TPM2B_ID_OBJECT's content.
            secret: TPM2B_ENCRYPTED_SECRET's content.
        """
        key, endorsement, session = handles
        reader = self.execute(
            Command.ACTIVATE_CREDENTIAL, handles=(key, endorsement), sessions=(PASSWORD, session),
            parameters=sized(blob) + sized(secret),
        )  # fmt: skip
        found = reader.sized()
        reader.end()
        return found

    def quote(self, key: int, qualifying: bytes, pcrs: Iterable[int]) -> TpmQuote:
        """Return a quote over PCRs and up to 64 bytes."""
        reader = self.execute(
            Command.QUOTE, handles=(key,), sessions=(PASSWORD,),
            parameters=sized(qualifying) + u16(NO_ALGORITHM) + selection(pcrs),
        )  # fmt: skip
        return TpmQuote(attest=reader.sized(), signature=reader.content)

    def extend(self, pcr: int, digest: bytes) -> None:
        """Extend a PCR of the SHA-256 bank."""
        if len(digest) != DIGEST_BYTES:
            raise PlatformRefused(f"a digest of {len(digest)} bytes to extend, expected {DIGEST_BYTES}")
        self.execute(
            Command.PCR_EXTEND, handles=(pcr,), sessions=(PASSWORD,), parameters=u32(1) + u16(SHA256) + digest
        ).end()

    def pcrs(self, numbers: Iterable[int]) -> dict[int, bytes]:
        """Return what PCRs of the SHA-256 bank hold."""
        wanted = sorted(set(numbers))
        found: dict[int, bytes] = {}
        for start in range(0, len(wanted), _PCRS_AT_ONCE):
            some = wanted[start : start + _PCRS_AT_ONCE]
            reader = self.execute(Command.PCR_READ, parameters=selection(some))
            reader.number(4)  # how often any PCR has changed
            if reader.take(10) != selection(some) or reader.number(4) != len(some):
                raise PlatformRefused("the TPM does not have the SHA-256 bank of these PCRs", hint="tpm2_pcrallocate")
            for number in some:
                found[number] = reader.sized()
            reader.end()
        return found


def _answer(content: bytes) -> tuple[int, int, Reader]:
    """Return tag and code of an answer, and what follows them."""
    reader = Reader(content)
    tag, size, code = reader.number(2), reader.number(4), reader.number(4)
    if size != len(content):
        raise PlatformRefused(f"the TPM's answer has {len(content)} bytes and says {size}")
    return tag, code, reader


def _without_sessions(reader: Reader, *, answers_handle: bool) -> Reader:
    """Return handle and parameters of an answer, without the size between them and the sessions behind."""
    handle = reader.take(4) if answers_handle else b""
    return Reader(handle + reader.take(reader.number(4)))


def _skipped_to_name(reader: Reader) -> bytes:
    """Return the name at the end of CreatePrimary's answer, behind what is of no use here."""
    reader.sized()  # creation data
    reader.sized()  # creation hash
    reader.number(2)  # the ticket: tag, hierarchy, digest
    reader.number(4)
    reader.sized()
    name = reader.sized()
    reader.end()
    return name

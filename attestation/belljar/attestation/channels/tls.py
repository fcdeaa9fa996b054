"""TLS 1.3 over memory: bytes from the network in, bytes for it out (RFC 8446). The only room that knows pyOpenSSL.

Both sides show a certificate. Whose it is, TLS leaves open here, unless authorities are pinned: evidence says it later.
No session is resumed and nothing is sent early: options and cache are off, and a server remembers no session. Decides
nothing about evidence; never sees a socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from OpenSSL import SSL, crypto

from belljar.attestation.errors import ChannelRefused

from .binding import EXPORTED_BYTES, LABELS, Role
from .identity import spki

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .identity import Identity

ALPN = b"belljar/1"
HYBRID_GROUP = "X25519MLKEM768"
RECORD_BYTES = 1 << 14  # of content in one TLS record, at most
_MAX_HELD = 4 * RECORD_BYTES - 8  # with its header, a frame fills as much
_SLACK = 4096  # more than TLS adds to that, and as much as it has to say by itself
_NOT_TLS_13 = "only TLS 1.3 is spoken here"


def make_context(
    role: Role, identity: Identity, authorities: Sequence[x509.Certificate], *, plain: bool
) -> SSL.Context:
    """Return what the sessions of one endpoint share.

    Args:
        role: of this side.
        identity: key and certificate to show.
        authorities: of which one must have issued the other's certificate; empty takes any.
        plain: speak no protocol of ours inside, and take clients without a certificate where no authorities are pinned.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD if role is Role.CLIENT else SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.use_privatekey(identity.key)
    context.use_certificate(identity.chain[0])
    for certificate in identity.chain[1:]:
        context.add_extra_chain_cert(certificate)
    _pin(context, authorities)
    if not plain:
        _speak(context, role)
    elif role is Role.SERVER and not authorities:
        context.set_verify(SSL.VERIFY_PEER, _anybody)  # a client without a certificate is looked at later
    return context


def _pin(context: SSL.Context, authorities: Sequence[x509.Certificate]) -> None:
    wanted = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    if not authorities:
        context.set_verify(wanted, _anybody)
        return
    store = context.get_cert_store()
    if store is None:
        raise ChannelRefused("authorities: OpenSSL has no store for them")
    for authority in authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    context.set_verify(wanted, _as_found)


def _anybody(_connection: SSL.Connection, _certificate: crypto.X509, _error: int, _depth: int, _ok: int) -> bool:
    return True  # its evidence says who it is, and is bound to this key


def _as_found(_connection: SSL.Connection, _certificate: crypto.X509, _error: int, _depth: int, ok: int) -> bool:
    return bool(ok)


def _speak(context: SSL.Context, role: Role) -> None:
    if role is Role.CLIENT:
        context.set_alpn_protos([ALPN])
    else:
        # Raising in there would reach any session of the context: each session looks at what was agreed instead.
        context.set_alpn_select_callback(lambda _, offered: ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS)


class TlsEngine:
    """One TLS session. After an error nothing but `drain` may be called."""

    def __init__(self, context: SSL.Context, role: Role) -> None:
        self._tls = SSL.Connection(context, None)
        self._role = role
        if role is Role.CLIENT:
            self._tls.set_connect_state()
        else:
            self._tls.set_accept_state()
        self._outgoing: list[bytes] = []
        self._unsent = 0  # bytes of content that OpenSSL holds, encrypted
        self._has_ended = False

    def feed(self, content: bytes | memoryview) -> None:
        """Take bytes from the network.

        Raises:
            ChannelRefused: the other side has closed the session: nobody would ever take them out of memory again.
        """
        if self._has_ended:
            raise ChannelRefused("bytes after the end of TLS", code="malformed")
        view = memoryview(content)
        while view:
            view = view[self._tls.bio_write(view) :]

    def drain(self) -> bytes:
        """Return all bytes for the network."""
        self._take_out()
        parts, self._outgoing = self._outgoing, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _take_out(self) -> None:
        expected, self._unsent = self._unsent + _SLACK, 0
        try:
            while len(part := self._tls.bio_read(expected)) == expected:
                self._outgoing.append(part)
            self._outgoing.append(part)
        except SSL.WantReadError:
            pass

    def shake(self) -> bool:
        """Go on with the handshake; say whether it is complete.

        Raises:
            ChannelRefused: it has failed.
        """
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise ChannelRefused(f"the TLS handshake failed: {_words(error)}", code="no-tls") from error
        return True

    def read(self) -> bytes | None:
        """Return the content of a record; None if there is no whole one; b"" after the other side closed.

        Raises:
            ChannelRefused: what came is not of this session, or was changed.
        """
        try:
            return self._tls.recv(RECORD_BYTES)
        except SSL.WantReadError:
            return None
        except SSL.ZeroReturnError:
            self._has_ended = True
            return b""
        except SSL.Error as error:
            raise ChannelRefused(f"the TLS session broke: {_words(error)}", code="no-tls") from error

    def write(self, content: bytes | memoryview) -> None:
        """Encrypt content; give it in pieces, as memory that OpenSSL has once used for it is kept.

        Raises:
            ChannelRefused: the session has ended.
        """
        try:
            self._tls.sendall(content)
        except SSL.Error as error:
            raise ChannelRefused(f"the TLS session has ended: {_words(error)}", code="no-tls") from error
        self._unsent += len(content)
        if self._unsent >= _MAX_HELD:
            self._take_out()

    def close(self) -> None:
        """Say that nothing more will be sent."""
        try:
            self._tls.shutdown()
        except SSL.Error:
            pass  # before the handshake is complete there is nothing to say it with

    def exported(self, role: Role, nonce: bytes) -> bytes:
        """Return the exporter's bytes for a role and a nonce."""
        return self._tls.export_keying_material(LABELS[role], EXPORTED_BYTES, nonce)

    @property
    def protocol(self) -> bytes:
        """What was agreed to be spoken inside; empty for nothing."""
        return self._tls.get_alpn_proto_negotiated()

    @property
    def group(self) -> str:
        """Name of the key exchange."""
        return self._tls.get_group_name() or "unknown"

    def peer_certificate(self) -> bytes:
        """Return the other side's certificate, DER.

        Raises:
            ChannelRefused: it has shown none.
        """
        found = self._tls.get_peer_certificate()
        if found is None:
            raise ChannelRefused("the other side has shown no certificate", code="no-certificate")
        return crypto.dump_certificate(crypto.FILETYPE_ASN1, found)


def public_key_of(certificate: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo in a certificate (DER).

    Raises:
        ChannelRefused: it cannot be read.
    """
    try:
        return spki(x509.load_der_x509_certificate(certificate).public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise ChannelRefused(f"the other side's certificate cannot be read: {error}", code="malformed") from error


def _words(error: SSL.Error) -> str:
    """Return OpenSSL's reason in its own words."""
    if isinstance(error, SSL.SysCallError):
        return "the other side has gone"
    found = cast("list[tuple[str, str, str]]", error.args[0]) if error.args else []
    reasons = [entry[2] for entry in found if len(entry) > 2]
    text = "; ".join(reasons) or "no reason given"
    if "unsupported protocol" in text or "protocol version" in text or "wrong version number" in text:
        text += f"; {_NOT_TLS_13}"
    return text

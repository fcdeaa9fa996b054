"""What the options of a command say about a channel: whom to accept, what to show, how long to wait.

In comes a command line; out come the terms and the identity of a client. Every file is read here, with a bound, so
that nothing can fail later for want of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.attestation.attesting import Purpose
from belljar.attestation.channel import (
    Identity,
    Limits,
    Terms,
    appraises_by,
    load_authorities,
    load_identity,
    read_token,
)
from belljar.loader.commands.attestation.sources import (
    instances_of,
    read_bounded,
    read_endorsements,
    read_policy,
)
from belljar.loader.errors import LoaderError, UsageError

if TYPE_CHECKING:
    from belljar.attestation.channel import Appraises
    from belljar.attestation.verifier import Policy
    from belljar.loader.options import Parsed

_MAX_PEM_BYTES = 1 << 18
_MAX_TOKEN_BYTES = 1024
_LONGEST_S = 86400.0


def client_terms(parsed: Parsed) -> Terms:
    """Return on what terms a client talks.

    Raises:
        UsageError: options contradict each other, or one is malformed.
        LoaderError: a file cannot be read.
        AttestationError: what is in one is malformed.
    """
    policy = read_policy(parsed.options["policy"]) if parsed.has("policy") else None
    if policy is None and not parsed.has("insecure-unattested"):
        hint = "belljar policy from app.bell --purpose channel makes one; --insecure-unattested takes any server"
        raise UsageError("expected --policy: what the server must be", hint=hint)
    token = parsed.options.get("token-file")
    authority = parsed.options.get("authority")
    return Terms(
        appraises=None if policy is None else appraises(parsed, policy),
        token=None if token is None else read_token(_text(token, _MAX_TOKEN_BYTES)),
        authorities=() if authority is None else load_authorities(read_bounded(authority, _MAX_PEM_BYTES)),
        limits=Limits(
            handshake_s=_seconds(parsed, "timeout") or Limits().handshake_s, reattest_s=_seconds(parsed, "reattest")
        ),
        insecure_unattested=policy is None,
        insecure_classical_group=parsed.has("insecure-classical-group"),
        insecure_ra_tls=parsed.has("insecure-ra-tls"),
    )


def client_identity(parsed: Parsed) -> Identity | None:
    """Return the certificate to show and its key; None to have one made.

    Raises:
        UsageError: one was given without the other.
        LoaderError: a file cannot be read.
        KeyRefused: they do not belong together.
    """
    certificate, key = parsed.options.get("certificate"), parsed.options.get("key")
    if (certificate is None) is not (key is None):
        raise UsageError("--certificate and --key go together")
    if certificate is None or key is None:
        return None
    return load_identity(read_bounded(certificate, _MAX_PEM_BYTES), read_bounded(key, _MAX_PEM_BYTES))


def appraises(parsed: Parsed, policy: Policy) -> Appraises:
    """Return what judges a server's evidence.

    Raises:
        UsageError: the policy takes no evidence for channels, or an instance is malformed.
    """
    ours = not parsed.has("insecure-ra-tls")
    if ours and policy.purposes is not None and Purpose.CHANNEL not in policy.purposes:
        names = ", ".join(sorted(purpose.value for purpose in policy.purposes))
        raise UsageError(
            f"{parsed.options['policy']}: takes evidence for {names}, expected {Purpose.CHANNEL.value} among them",
            hint="belljar policy from app.bell --purpose channel",
        )
    instances = frozenset(instances_of(parsed))
    endorsements = read_endorsements(parsed.each("endorsements"))
    return appraises_by(policy, endorsements, instances=instances)


def _text(path: str, limit: int) -> str:
    try:
        return read_bounded(path, limit).decode("ascii")
    except UnicodeDecodeError as error:
        raise LoaderError(f"{path}: not ASCII at byte {error.start}, expected a token") from error


def _seconds(parsed: Parsed, name: str) -> float | None:
    text = parsed.options.get(name)
    if text is None:
        return None
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 < found <= _LONGEST_S:
        raise UsageError(f"--{name}: got {text[:40]!r}, expected seconds, up to {_LONGEST_S:.0f}")
    return found

"""The files that a manifest's network names: found, read, and looked at before anything runs.

In comes the network as written; out comes the same with the texts of its policies and authorities in it, and absolute
paths of what is not measured. A policy that a channel would refuse is a mistake in the manifest, at its place.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from belljar.loader.errors import LoaderError, ManifestError, Problem

from .network import UNIX, Document, Network

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.attestation.verifier import Policy

    from .reader import Document as Source
    from .section import Section

MAX_BYTES = 256 << 10
_LISTS = ("listen", "connect", "internet")


def open_network(source: Source, network: Network, folder: str, files: list[str]) -> Network:
    """Return a network with its files read.

    Args:
        source: the manifest as read, for the places of mistakes.
        network: as it says.
        folder: what its paths are relative to.
        files: every file that is measured is added.

    Raises:
        ManifestError: a policy or a certificate is not one.
        LoaderError: a file cannot be read.
    """
    opened: dict[str, object] = {}
    for name in _LISTS:
        entries: list[Section] = getattr(network, name)
        if entries:
            opened[name] = [
                entry.model_copy(update=_opened(source, ("network", name, number), entry, (folder, files)))
                for number, entry in enumerate(entries)
            ]
    return network.model_copy(update=opened) if opened else network


def _opened(
    source: Source, place: tuple[str | int, ...], entry: Section, where: tuple[str, list[str]]
) -> dict[str, object]:
    folder, files = where
    changes: dict[str, object] = {}
    for name in ("policy", "authorities"):
        document: Document | None = getattr(entry, name, None)
        if document is not None:
            text = _text(document, folder, files)
            in_certificates = getattr(entry, "insecure_ra_tls", False)
            _check(name, text, source.place((*place, name)), in_certificates=in_certificates)
            changes[name] = document.model_copy(update={"file": None, "text": text})
    for name in ("tokens", "token"):
        if getattr(entry, name, None) is not None:
            changes[name] = _absolute(folder, getattr(entry, name))
    if getattr(entry, "endorsements", None):
        changes["endorsements"] = [_absolute(folder, path) for path in getattr(entry, "endorsements")]  # noqa: B009 - of two kinds
    outside = getattr(entry, "outside", "")
    if outside.startswith(UNIX):
        changes["outside"] = UNIX + _absolute(folder, outside.removeprefix(UNIX))
    return changes


def _text(document: Document, folder: str, files: list[str]) -> str:
    if document.text is not None:
        return document.text
    path = _absolute(folder, document.file or "")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), encoding="utf-8") as file:
            text = file.read(MAX_BYTES + 1)
    except UnicodeDecodeError as error:
        raise LoaderError(f"{path}: is no text in UTF-8") from error
    except OSError as error:
        raise LoaderError(f"{path}: cannot be read: {error.strerror}") from error
    if len(text) > MAX_BYTES:
        raise LoaderError(f"{path}: longer than {MAX_BYTES} characters")
    files.append(path)
    return text


def _check(name: str, text: str, place: str, *, in_certificates: bool) -> None:
    """Hold that a document is what its key says, and a policy one that its evidence can meet."""
    from belljar.attestation.channel import load_authorities
    from belljar.attestation.errors import AttestationError
    from belljar.attestation.verifier import load_policy

    def policy() -> None:
        found = load_policy(text)
        if in_certificates:
            _check_for_certificates(found, place)

    checks: dict[str, Callable[[], object]] = {
        "policy": policy,
        "authorities": lambda: load_authorities(text.encode()),
    }
    try:
        checks[name]()
    except AttestationError as error:
        raise ManifestError([Problem(place, f"{name}: {error}")], hint=error.hint) from error


def _check_for_certificates(policy: Policy, place: str) -> None:
    """Hold that a policy asks nothing that evidence in a certificate never shows."""
    asks = {
        "freshness": policy.nonce or policy.max_age_s is not None,
        "purpose": policy.purposes is not None,
        "data_consistency": policy.data_consistency is not None,
        "task": policy.task is not None,
        "instance": policy.instance is not None,
    }
    never = [name for name, asked in asks.items() if asked]
    if never:
        message = f"policy: asks for {', '.join(never)}, which certificates of insecure_ra_tls never show"
        skips = [f"insecure_skip_{name}: true" for name in never if name != "instance"]
        hint = f"instead it must say {', '.join(skips)}" if skips else "it must leave instance out"
        raise ManifestError([Problem(place, message)], hint=hint)


def _absolute(folder: str, path: str) -> str:
    return os.path.normpath(os.path.join(folder, os.path.expanduser(path)))

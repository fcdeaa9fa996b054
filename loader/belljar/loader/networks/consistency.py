"""Whether what a manifest opens of the network fits together: places inside once each, evidence where it is needed.

In comes a parsed manifest; out comes nothing, or a `ManifestError` with the place. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.loader.errors import ManifestError, Problem

from .forms import outward

if TYPE_CHECKING:
    from belljar.loader.manifest.parse import ParsedManifest

_QUESTIONS = "127.0.0.1:53"


def check_network(parsed: ParsedManifest) -> None:
    """Hold that the entries of a network fit together.

    Raises:
        ManifestError: they do not.
    """
    network = parsed.manifest.network
    if not (network.listen or network.connect or network.internet):
        return
    place = parsed.place("network")
    if network.insecure_host:
        message = "insecure_host shares the whole network of the host: listen, connect and internet need one of its own"
        raise ManifestError([Problem(place, message)])
    attested = any(not entry.insecure_plain for entry in network.listen)
    if parsed.manifest.attestation.platform == "none" and attested:
        message = "listen: attested channels need evidence, and attestation says platform: none"
        raise ManifestError([Problem(place, message)])
    _check_places(parsed)
    for entry in network.internet:
        if entry.name == parsed.manifest.name:
            raise ManifestError([Problem(place, f"{entry.name} is the enclave's own name, expected another host's")])


def _check_places(parsed: ParsedManifest) -> None:
    """Hold that nothing stands twice at a place inside."""
    network = parsed.manifest.network
    seen: set[str] = {entry.guest for entry in network.listen if not entry.guest.isdigit()}
    seen |= {f"127.0.0.1:{entry.guest}" for entry in network.listen if entry.guest.isdigit()}
    found = outward(network)
    if any(entry.name for entry in found):
        seen.add(_QUESTIONS)
    for entry in found:
        if entry.guest in seen:
            shown = f"{entry.name}, " if entry.name else ""
            message = f"{shown}{entry.guest} in the enclave is taken by another entry, or by the answers to names"
            raise ManifestError([Problem(parsed.place("network"), message)])
        seen.add(entry.guest)

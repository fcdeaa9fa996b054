"""Who is connected to the guest, as the guest may know it: `/dev/attestation/peers/PORT.json` (docs/formats/peers.md).

In come a channel's peer and the port its connection has inside; out comes JSON, in a file that is there as long as the
connection. Written by the gateway's thread, read by that of the files: what they share is replaced, never changed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from belljar.fs.pseudo import PseudoFile

if TYPE_CHECKING:
    from belljar.attestation.channel import Peer
    from belljar.fs.pseudo import PseudoFolder

FORMAT = "belljar-peer/1"
_IN_HEADER = ("tee", "simulated", "debug", "measurement", "signer", "product_id", "svn", "provider", "instance_id")


class Peers:
    """The folder of peers.

    Args:
        folder: as the guest sees it; None if it has no such files.
    """

    def __init__(self, folder: PseudoFolder | None) -> None:
        self._folder = folder
        self._present: dict[int, bytes] = {}
        self._files: dict[int, PseudoFile] = {}

    def come(self, port: int, peer: bytes) -> None:
        """Show a peer under the port that its connection has inside."""
        if self._folder is None:
            return
        self._present[port] = peer
        # Each port has one file for ever: the file server remembers every file that it was asked for.
        file = self._files.get(port)
        if file is None:
            file = self._files[port] = PseudoFile(_Shown(self._present, port))
        self._folder.children = {**self._folder.children, f"{port}.json": file}

    def go(self, port: int, peer: bytes) -> None:
        """Show it no longer; but if another has come under this port meanwhile, leave that one."""
        if self._folder is None or self._present.get(port) is not peer:
            return
        del self._present[port]
        self._folder.children = {name: file for name, file in self._folder.children.items() if name != f"{port}.json"}


class _Shown:
    """What the file of a port shows: small, as there may be one for each port."""

    __slots__ = ("_port", "_present")

    def __init__(self, present: dict[int, bytes], port: int) -> None:
        self._present = present
        self._port = port

    def __call__(self, _pid: int) -> bytes:
        return self._present.get(self._port, b"")


def described(peer: Peer, address: str, *, whole: bool) -> bytes:
    """Return what is known of a peer as JSON.

    Args:
        peer: of an open channel.
        address: where it comes from.
        whole: all claims; else those that fit into a header.
    """
    appraisal = peer.appraisal
    claims = {} if appraisal is None else appraisal.claims.plain()
    known: dict[str, object] = {
        "format": FORMAT,
        "address": address,
        "attested": appraisal is not None,
        "claims": claims if whole else {name: claims[name] for name in _IN_HEADER if name in claims},
        "token": peer.holder,
        "certified": peer.certified,
    }
    if appraisal is not None:
        known["policy"] = appraisal.policy
    return json.dumps(known, sort_keys=True, separators=(",", ":")).encode() + b"\n"

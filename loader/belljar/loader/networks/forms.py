"""What a manifest opens of the network, in its other forms: what is measured, what a bundle adds, what libos is told.

In come the sections of the manifest; out come plain values and entries of the specification. Addresses outside and
files of secrets are not measured: an enclave on another port, or with another token, is the same enclave. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from belljar.libos.enclave import Inward, Outward, Traffic
from belljar.loader.manifest.network import UNIX, Connect, Internet, Listen, Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from belljar.attestation.measurement import Json
    from belljar.loader.manifest.network import Document

LOOPBACK = "127.0.0.1"
_FIRST_NAMED = (127 << 24) + (1 << 8) + 1  # 127.0.1.1
_NOT_MEASURED = ("outside", "tokens", "token")


def measured_network(network: Network) -> dict[str, Json]:
    """Return what is measured of a network: nothing if it opens nothing."""
    if not (network.listen or network.connect or network.internet):
        return {}
    return {
        "connect": [_measured(entry) for entry in network.connect],
        "internet": [_measured(entry) for entry in network.internet],
        "listen": [_measured(entry) for entry in network.listen],
    }


def _measured(entry: Listen | Connect | Internet) -> Json:
    row: dict[str, Json] = {}
    for name in type(entry).model_fields:
        value = getattr(entry, name)
        if name in ("policy", "authorities"):
            row[name] = None if value is None else cast("Document", value).text
        elif name in ("tokens", "token"):
            row[name] = value is not None
        elif name not in ("outside", "endorsements"):
            row[name] = value
    return row


def manifest_network(measured: Mapping[str, Any], added: Mapping[str, str]) -> dict[str, Any]:
    """Return a network as a person would have written it.

    Args:
        measured: what `measured_network` returned.
        added: what `not_measured` returned.
    """
    return {
        name: [_written(name, number, row, added) for number, row in enumerate(measured[name])] for name in measured
    }


def _written(name: str, number: int, row: Mapping[str, Any], added: Mapping[str, str]) -> dict[str, Any]:
    written = dict(row)
    for key in ("policy", "authorities"):
        if written.get(key) is not None:
            written[key] = {"text": written[key]}
    for key in ("idle", "handshake", "reattest"):
        if written.get(key) is not None:
            written[key] = f"{written[key]}ms"
    for key in _NOT_MEASURED:
        there = key == "outside" and name != "internet"
        if there or written.pop(key, False):
            written[key] = added[f"{name}.{number}.{key}"]
    prefix = f"{name}.{number}.endorsements."
    endorsements = [added[key] for key in sorted(added, key=_place) if key.startswith(prefix)]
    return {**written, "endorsements": endorsements} if endorsements else written


def _place(key: str) -> tuple[str, int]:
    above, _, number = key.rpartition(".")
    return above, int(number) if number.isdigit() else 0


def not_measured(network: Network) -> dict[str, str]:
    """Return what else it says, by its place: "listen.0.outside", "connect.1.token"."""
    return {
        f"{name}.{number}.{key}": value
        for name in ("connect", "listen")
        for number, entry in enumerate(getattr(network, name))
        for key, value in _rest(entry)
    }


def _rest(entry: Listen | Connect) -> Iterator[tuple[str, str]]:
    for key in _NOT_MEASURED:
        value = getattr(entry, key, None)
        if value is not None:
            yield key, value
    for number, path in enumerate(entry.endorsements):
        yield f"endorsements.{number}", path


def inward(network: Network) -> tuple[Inward, ...]:
    """Return the addresses outside that lead in."""
    return tuple(
        Inward(
            outside=entry.outside,
            guest=_inside(entry.guest),
            security=_security(entry),
            policy=_text(entry.policy),
            endorsements=tuple(entry.endorsements),
            tokens=entry.tokens or "",
            authorities=_text(entry.authorities),
            proxy_protocol=entry.proxy_protocol,
            reattest_ms=entry.reattest or 0,
            traffic=_traffic(entry),
        )
        for entry in network.listen
    )


def outward(network: Network) -> tuple[Outward, ...]:
    """Return the places inside that lead out; each name has an address of its own in the enclave."""
    addresses = addresses_of(network)
    return (
        *(_to_enclave(entry, addresses) for entry in network.connect),
        *(_to_internet(entry, addresses) for entry in network.internet),
    )


def addresses_of(network: Network) -> dict[str, str]:
    """Return name -> address inside, from 127.0.1.1 on, in the order of the manifest."""
    named = [_split(entry.guest)[0] for entry in network.connect] + [entry.name for entry in network.internet]
    names = dict.fromkeys(name for name in named if name)
    return {name: ".".join(map(str, (_FIRST_NAMED + n).to_bytes(4, "big"))) for n, name in enumerate(names)}


def _to_enclave(entry: Connect, addresses: Mapping[str, str]) -> Outward:
    name, port = _split(entry.guest)
    return Outward(
        guest=f"{addresses[name]}:{port}" if name else _inside(entry.guest),
        name=name,
        outside=entry.outside,
        security=_security(entry),
        policy=_text(entry.policy),
        endorsements=tuple(entry.endorsements),
        token=entry.token or "",
        authorities=_text(entry.authorities),
        private=True,
        reattest_ms=entry.reattest or 0,
        traffic=_traffic(entry),
    )


def _to_internet(entry: Internet, addresses: Mapping[str, str]) -> Outward:
    plain = "plain" if entry.insecure_plain else "guest-tls"
    port = entry.guest or (80 if entry.tls == "gateway" else entry.port)
    return Outward(
        guest=f"{addresses[entry.name]}:{port}",
        name=entry.name,
        outside=f"{entry.name}:{entry.port}",
        security="tls" if entry.tls == "gateway" else plain,
        policy="",
        endorsements=(),
        token="",
        authorities=_text(entry.authorities),
        private=entry.insecure_private,
        reattest_ms=0,
        traffic=_traffic(entry),
    )


def _security(entry: Listen | Connect) -> str:
    if entry.insecure_ra_tls:
        return "ra-tls"
    return "plain" if entry.insecure_plain else "channel"


def _split(guest: str) -> tuple[str, str]:
    """Return (name, port) of a place inside; the name is empty if it has none."""
    if guest.startswith(UNIX):
        return "", ""
    name, _, port = guest.rpartition(":")
    return name, port


def _inside(guest: str) -> str:
    return guest if guest.startswith(UNIX) else f"{LOOPBACK}:{guest}"


def _text(document: Document | None) -> str:
    return "" if document is None else document.text or ""


def _traffic(entry: Listen | Connect | Internet) -> Traffic:
    return Traffic(connections=entry.connections, idle_ms=entry.idle, handshake_ms=entry.handshake)

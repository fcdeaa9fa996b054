"""Reference values as CoRIM: the part of it that says which code is expected (draft-ietf-rats-corim).

    501({ 0: id, 1: [ 506(bstr { 1: {0: tag id}, 4: {0: [ triple, … ]} }) ] })       all of it deterministic CBOR
    triple       [ {0: { ? 0: 551(product id), 1: vendor, 2: name }}, [ {1: values} ] ]
    values       { 1: 553(least svn), 2: [ [hash, measurement] ], ? 13: [ 557([1, signer id]) ] }
    hash         1 SHA-256, 7 SHA-384, 8 SHA-512 (IANA named information)

Unsigned: who signs a CoRIM signs these bytes (cose.py). What we do not write is refused, not ignored: a validity or a
condition that went unnoticed would make a value hold that its author has limited. In come bytes; out come
`ReferenceValues`, or `PolicyRefused`. Pure.
"""

from __future__ import annotations

from belljar.attestation.cbor import Cbor, Tagged, decode, encode
from belljar.attestation.errors import CborRefused, PolicyRefused

from .reference import ReferenceValues

VENDOR = "Belljar"
MEDIA_TYPE = "application/rim+cbor"
MAX_CORIM_BYTES = 1 << 20
MAX_TRIPLES = 1024
MAX_NAME_BYTES = 1024
_CORIM, _COMID, _INT, _MIN_SVN, _THUMBPRINT = 501, 506, 551, 553, 557
_TAGS = frozenset({_CORIM})
_INNER_TAGS = frozenset({_INT, _MIN_SVN, _THUMBPRINT})
_HASHES = {32: 1, 48: 7, 64: 8}
_SIZES = {number: size for size, number in _HASHES.items()}
_SVN, _DIGESTS, _KEYS = 1, 2, 13
_LARGEST = 0xFFFF_FFFF


def to_corim(identifier: str, values: tuple[ReferenceValues, ...]) -> bytes:
    """Return reference values as CoRIM.

    Raises:
        PolicyRefused: there are none, or a measurement has the size of no digest.
    """
    if not 1 <= len(values) <= MAX_TRIPLES:
        raise PolicyRefused(f"CoRIM: got {len(values)} reference values, expected 1 to {MAX_TRIPLES}")
    triples: list[Cbor] = [_triple(value) for value in values]
    comid = encode({1: {0: identifier}, 4: {0: triples}})
    return encode(Tagged(tag=_CORIM, value={0: identifier, 1: [Tagged(tag=_COMID, value=comid)]}))


def _triple(value: ReferenceValues) -> Cbor:
    size = len(value.measurement)
    if size not in _HASHES:
        raise PolicyRefused(f"CoRIM: {value.name}: got a measurement of {size} bytes, expected 32, 48 or 64")
    measured: dict[int | str, Cbor] = {
        _SVN: Tagged(tag=_MIN_SVN, value=value.svn),
        _DIGESTS: [[_HASHES[size], value.measurement]],
    }
    if value.signer is not None:
        measured[_KEYS] = [Tagged(tag=_THUMBPRINT, value=[1, value.signer])]
    kind: dict[int | str, Cbor] = {0: Tagged(tag=_INT, value=value.product_id), 1: VENDOR, 2: value.name}
    return [{0: kind}, [{1: measured}]]


def from_corim(content: bytes) -> tuple[ReferenceValues, ...]:
    """Return the reference values in a CoRIM.

    Raises:
        PolicyRefused: it is malformed, or says more than `to_corim` would.
    """
    if len(content) > MAX_CORIM_BYTES:
        raise PolicyRefused(f"CoRIM: got {len(content)} bytes, expected at most {MAX_CORIM_BYTES}")
    try:
        outer = decode(content, tags=_TAGS | {_COMID})
        corim = _map(outer.value if isinstance(outer, Tagged) and outer.tag == _CORIM else None, "CoRIM", {0, 1})
        tag = _only(corim[1], "tags")
        inner = tag.value if isinstance(tag, Tagged) and tag.tag == _COMID else None
        if not isinstance(inner, bytes):
            raise PolicyRefused("CoRIM: got a tag of another kind, expected one CoMID (506)")
        comid = _map(decode(inner, tags=_INNER_TAGS), "CoMID", {1, 4})
    except CborRefused as error:
        raise PolicyRefused(f"CoRIM: {error}") from error
    _map(comid[1], "tag identity", {0})
    triples = _map(comid[4], "triples", {0})[0]
    if not isinstance(triples, list) or not 1 <= len(triples) <= MAX_TRIPLES:
        raise PolicyRefused(f"CoRIM: got no reference triples, or more than {MAX_TRIPLES}")
    return tuple(_values(triple) for triple in triples)


def _map(value: Cbor, what: str, keys: set[int]) -> dict[int | str, Cbor]:
    if not isinstance(value, dict) or set(value) != keys:
        found = sorted(map(str, value)) if isinstance(value, dict) else type(value).__name__
        raise PolicyRefused(f"CoRIM: {what}: got {found}, expected a map of {sorted(keys)} and nothing else")
    return value


def _only(value: Cbor, what: str) -> Cbor:
    if not isinstance(value, list) or len(value) != 1:
        raise PolicyRefused(f"CoRIM: {what}: expected a list of one")
    return value[0]


def _values(triple: Cbor) -> ReferenceValues:
    if not isinstance(triple, list) or len(triple) != 2:
        raise PolicyRefused("CoRIM: a reference triple is no pair of environment and measurements")
    kind = _map(_map(triple[0], "environment", {0})[0], "class", {0, 1, 2})
    found = _map(_only(triple[1], "measurements"), "measurement", {1})[1]
    signed = isinstance(found, dict) and _KEYS in found
    measured = _map(found, "measurement values", {_SVN, _DIGESTS, _KEYS} if signed else {_SVN, _DIGESTS})
    name = kind[2]
    if not isinstance(name, str) or not isinstance(kind[1], str) or len(name) > MAX_NAME_BYTES:
        raise PolicyRefused("CoRIM: vendor and model must be texts")
    signer = _digest(_tagged(_only(measured[_KEYS], "keys"), _THUMBPRINT), {1}) if signed else None
    return ReferenceValues(
        name=name,
        measurement=_digest(_only(measured[_DIGESTS], "digests"), set(_SIZES)),
        signer=signer,
        product_id=_number(_tagged(kind[0], _INT)),
        svn=_number(_tagged(measured[_SVN], _MIN_SVN)),
    )


def _tagged(value: Cbor, tag: int) -> Cbor:
    if not isinstance(value, Tagged) or value.tag != tag:
        raise PolicyRefused(f"CoRIM: got something else than tag {tag}")
    return value.value


def _number(value: Cbor) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise PolicyRefused(f"CoRIM: got {value!r:.40}, expected 0 to {_LARGEST}")
    return value


def _digest(value: Cbor, hashes: set[int]) -> bytes:
    pair = value if isinstance(value, list) and len(value) == 2 else [None, None]
    number, digest = pair
    if type(number) is not int or number not in hashes or not isinstance(digest, bytes):
        raise PolicyRefused("CoRIM: got something else than [hash, digest] with a hash we know")
    if len(digest) != _SIZES[number]:
        raise PolicyRefused(f"CoRIM: got a digest of {len(digest)} bytes, expected {_SIZES[number]}")
    return digest

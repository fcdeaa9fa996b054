"""Chains to pinned roots: what holds, and every way in which one does not (RFC 5280)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.serialization import Encoding

from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.evidence import Trust
from belljar.attestation.steps import Trail
from belljar.attestation.x509 import der
from belljar.attestation.x509.certificate import parse_certificate, parse_crl, parse_pem_body, parse_pem_chain
from belljar.attestation.x509.chain import Chain, Material, verify_chain
from belljar.attestation.x509.roots import VENDOR_ROOTS
from support.captured import read
from support.evidence import rsa_key
from support.vendors import NOW, Authority, Wish, authority, crl, issue, name, p256, p384, raw

ROOT = issue("root", p384(), wish=Wish(extensions=authority()))
MIDDLE = issue("middle", p384(), ROOT, Wish(extensions=authority(0)))
LEAF = issue("leaf", p256(), MIDDLE)


def check(
    leaf: Authority, *others: Authority, crls: tuple[bytes, ...] | None = None, now: int = NOW, pin: Authority = ROOT
) -> Chain:
    lists = (crl(ROOT), crl(MIDDLE)) if crls is None else crls
    material = Material(
        what="chain",
        certificates=tuple(other.certificate for other in others),
        crls=tuple(parse_crl(one) for one in lists),
    )
    trust = Trust(roots=frozenset({pin.pin}), now=now, require_crls=True)
    return verify_chain(parse_certificate(leaf.der), material, trust, Trail())


def refused(text: str, *chain: Authority, **how: Any) -> None:
    with pytest.raises(EvidenceRefused, match=text):
        check(*chain, **how)


def test_a_chain_holds_in_any_order() -> None:
    for others in ((MIDDLE, ROOT), (ROOT, MIDDLE), (ROOT, LEAF, MIDDLE, MIDDLE)):
        found = check(LEAF, *others)
        assert found.certificates == (LEAF.certificate, MIDDLE.certificate, ROOT.certificate)
        assert found.root == ROOT.pin
        assert found.leaf == LEAF.certificate


@pytest.mark.parametrize(
    "key", [p256(), p384(), rsa_key("any"), ed25519.Ed25519PrivateKey.generate(), mldsa.MLDSA65PrivateKey.generate()]
)
def test_every_algorithm_of_the_table_signs_chains(key: object) -> None:
    root = issue("root", key, wish=Wish(extensions=authority()))
    assert check(issue("leaf", p256(), root), root, crls=(crl(root),), pin=root).root == root.pin


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa_key("short", 1024), None),
        (ec.generate_private_key(ec.SECP521R1()), None),
        (ec.generate_private_key(ec.SECP256K1()), None),
        (p256(), hashes.SHA224()),
    ],
)
def test_weak_or_foreign_algorithms_end_no_chain(key: object, algorithm: hashes.HashAlgorithm | None) -> None:
    root = issue("root", key, wish=Wish(extensions=authority(), algorithm=algorithm))
    refused("signatures up to a root", issue("leaf", p256(), root, Wish(algorithm=algorithm)), root, pin=root)


def test_an_unpinned_root_is_refused() -> None:
    other = issue("root", p384(), wish=Wish(extensions=authority()))
    refused(rf"root key: got {ROOT.pin.hex()}, expected one of the pinned: {other.pin.hex()[:16]}", LEAF, MIDDLE, ROOT,
            pin=other)  # fmt: skip


def test_a_chain_that_does_not_reach_a_root_is_refused() -> None:
    refused("got leaf < middle, expected a path to a root", LEAF, MIDDLE)
    refused("got leaf, expected a path to a root", LEAF, ROOT)
    refused("got root, expected a path to a root", ROOT)


def test_a_certificate_of_the_same_name_and_another_key_is_passed_over() -> None:
    double = issue("middle", p384(), ROOT, Wish(extensions=authority(0)))
    assert MIDDLE.certificate in check(LEAF, double, MIDDLE, ROOT).certificates
    refused("expected a path to a root", LEAF, double, ROOT)


@pytest.mark.parametrize("place", ["leaf", "middle", "root"])
@pytest.mark.parametrize("wish", [{"last": timedelta(days=100)}, {"first": timedelta(days=200)}])
def test_certificates_out_of_date_are_refused(place: str, wish: dict[str, timedelta]) -> None:
    def dated(common: str, **more: Any) -> Wish:
        changes: dict[str, Any] = wish if place == common else {}
        return Wish(**more, **changes)

    root = issue("root", p384(), wish=dated("root", extensions=authority()))
    middle = issue("middle", p384(), root, dated("middle", extensions=authority(0)))
    leaf = issue("leaf", p256(), middle, dated("leaf"))
    refused(f"chain: {place} valid: got 2026-06-01", leaf, middle, root, crls=(crl(root), crl(middle)), pin=root)


def test_only_issuers_may_issue() -> None:
    refused("middle may issue: got CA False", issue("leaf", p256(), bad := issue("middle", p256(), ROOT)), bad, ROOT)
    deep = issue("deep", p384(), MIDDLE, Wish(extensions=authority(0)))
    refused("middle may issue: got CA True, depth too small", issue("leaf", p256(), deep), deep, MIDDLE, ROOT)
    only_ca: list[tuple[x509.ExtensionType, bool]] = authority()[:1]
    bad = issue("middle", p384(), ROOT, Wish(extensions=only_ca))
    refused("keyCertSign False", issue("leaf", p256(), bad), bad, ROOT)


def test_an_issuer_signs_no_evidence() -> None:
    leaf = issue("leaf", p256(), MIDDLE, Wish(extensions=authority()[:1]))
    refused("leaf may sign: got CA True", leaf, MIDDLE, ROOT, crls=())
    usage = authority()[1]
    refused("digitalSignature False", issue("leaf", p256(), MIDDLE, Wish(extensions=[usage])), MIDDLE, ROOT)


def test_unknown_critical_extensions_are_refused() -> None:
    bad = (raw("1.2.3.4", b"\x05\0")[0], True)
    leaf = issue("leaf", p256(), MIDDLE, Wish(extensions=[bad]))
    refused(r"leaf critical extensions unknown: got 1\.2\.3\.4, expected none", leaf, MIDDLE, ROOT)
    middle = issue("middle", p384(), ROOT, Wish(extensions=[*authority(0), bad]))
    refused(r"middle critical extensions unknown", issue("leaf", p256(), middle), middle, ROOT)


def test_the_revoked_are_refused() -> None:
    root = issue("root", p384(), wish=Wish(extensions=authority()))
    middle = issue("middle", p384(), root, Wish(extensions=authority(0)))
    leaf = issue("leaf", p256(), middle)
    chain = (leaf, middle, root)
    middle.revoked.append(leaf.certificate.serial_number)
    refused("revocation of O=Test,CN=leaf: got revoked", *chain, crls=(crl(root), crl(middle)), pin=root)
    middle.revoked.clear()
    root.revoked.append(middle.certificate.serial_number)
    refused("revocation of O=Test,CN=middle: got revoked", *chain, crls=(crl(root), crl(middle)), pin=root)


def test_revocation_lists_must_be_there_in_date_complete_and_the_issuers() -> None:
    chain = (LEAF, MIDDLE, ROOT)
    refused("CN=leaf: got no list", *chain, crls=(crl(ROOT),))
    refused("CN=middle: got no list", *chain, crls=(crl(MIDDLE),))
    refused("list in date: got 2026-06-01 00:00:00, expected 2026-01-01 to 2026-02-10", *chain, crls=(
        crl(ROOT), crl(MIDDLE, days=40)))  # fmt: skip
    refused("list in date", *chain, crls=(crl(ROOT), crl(MIDDLE, first=300)))
    refused("list complete", *chain, crls=(crl(ROOT), crl(MIDDLE, critical=True)))
    forged = Authority(key=p384(), certificate=MIDDLE.certificate)
    refused("CN=leaf: got no list", *chain, crls=(crl(ROOT), crl(forged)))


def test_a_list_that_is_there_counts_even_where_none_need_be() -> None:
    root = issue("root", p384(), wish=Wish(extensions=authority()))
    leaf = issue("leaf", p256(), root)
    trust = Trust(roots=frozenset({root.pin}), now=NOW, require_crls=False)

    def again(*lists: bytes) -> Chain:
        material = Material(what="chain", certificates=(root.certificate,), crls=tuple(map(parse_crl, lists)))
        return verify_chain(leaf.certificate, material, trust, Trail())

    assert again().root == root.pin
    root.revoked.append(leaf.certificate.serial_number)
    with pytest.raises(EvidenceRefused, match="got revoked"):
        again(crl(root))


def test_many_certificates_do_not_take_for_ever() -> None:
    ring = [issue("a" if index % 2 else "b", p256()) for index in range(8)]
    refused("signatures up to a root", LEAF, *ring)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "got tags [], expected one 0x30"),
        (b"\x30\x80\0\0", "got a length of 0 bytes, expected 1 to 3"),
        (b"\x30\x81\x01\0", "a length that DER spells in another way"),
        (b"\x30\x03\x02\x01", "value at byte 2: got 2 bytes, expected 3"),
        (LEAF.der + b"\0\0", "got tags ['0x30', '0x0']"),
        (b"0" * 20_000, "got 20000 bytes, expected at most 16384"),
    ],
)
def test_what_is_no_certificate_is_refused(content: bytes, text: str) -> None:
    with pytest.raises(EvidenceRefused, match=re.escape(text)):
        parse_certificate(content)


def test_pem_has_one_spelling() -> None:
    pem = LEAF.pem + ROOT.pem
    assert parse_pem_chain(pem, "chain") == (LEAF.certificate, ROOT.certificate)
    assert parse_pem_chain(pem[:-1] + b"\0", "chain") == parse_pem_chain(pem + b"\0", "chain")
    for other in (b" " + pem, pem + b"\n", pem.replace(b"\n", b"\r\n"), b"# note\n" + pem, pem[:-1] + b"\n\0\0"):
        with pytest.raises(EvidenceRefused):
            parse_pem_chain(other, "chain")
    with pytest.raises(EvidenceRefused, match="got more than 8 certificates"):
        parse_pem_chain(LEAF.pem * 9, "chain")
    assert parse_pem_body(LEAF.pem, "one") == LEAF.der
    for other in (pem, LEAF.pem + b"\n", LEAF.pem[:-1], LEAF.pem.replace(b"\n", b"", 2)):
        with pytest.raises(EvidenceRefused):
            parse_pem_body(other, "one")


def test_bits_that_nobody_signs_have_one_spelling() -> None:
    parts = der.values(der.only(LEAF.der, der.SEQUENCE, "x"), "x")
    odd = b"\x01" + parts[2][1][1:]
    spelled = b"".join(der.spell(tag, value) for tag, value in [*parts[:2], (der.BIT_STRING, odd)])
    with pytest.raises(EvidenceRefused, match="no whole number of bytes"):
        parse_certificate(der.spell(der.SEQUENCE, spelled))
    other = der.values(der.only(ROOT.der, der.SEQUENCE, "x"), "x")[1]
    mixed = b"".join(der.spell(tag, value) for tag, value in [parts[0], (other[0], other[1] + b"\x05\0"), parts[2]])
    with pytest.raises(EvidenceRefused, match="one algorithm inside of what is signed and another outside"):
        parse_certificate(der.spell(der.SEQUENCE, mixed))


def test_version_1_is_refused() -> None:
    parts = der.values(LEAF.certificate.tbs_certificate_bytes[4:], "tbs")
    inner = b"".join(der.spell(tag, value) for tag, value in parts[1:-1] if tag != 0xA3)
    outer = der.values(der.only(LEAF.der, der.SEQUENCE, "x"), "x")
    made = der.spell(der.SEQUENCE, der.spell(der.SEQUENCE, inner) + der.spell(*outer[1]) + der.spell(*outer[2]))
    with pytest.raises(EvidenceRefused, match=r"not an X\.509 certificate|got X\.509 v1, expected v3"):
        parse_certificate(made)


def test_the_roots_of_vendors_are_those_of_the_captured_certificates() -> None:
    intel = parse_certificate(read("tdx/intel-sgx-root-ca.der"))
    pins = {"intel-sgx": Authority(key=None, certificate=intel).pin}
    for line in ("milan", "genoa", "turin"):
        chain = parse_pem_chain(read(f"snp/{line}.pem"), line)
        (ark,) = (one for one in chain if one.subject == one.issuer)
        pins[f"amd-{line}"] = Authority(key=None, certificate=ark).pin
    assert pins == VENDOR_ROOTS
    assert intel.subject != name("root")
    assert intel.public_bytes(Encoding.DER) == read("tdx/intel-sgx-root-ca.der")

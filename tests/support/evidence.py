"""Evidence of our own making, of the same layouts as the real thing, and a case that holds it with all it needs."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import struct
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from belljar.attestation.cbor import Tagged, encode
from belljar.attestation.claims import Claims
from belljar.attestation.dcap.verify import DcapFormat
from belljar.attestation.evidence import Collateral, Endorsements, EvidenceFormat, Trust, key_digest
from belljar.attestation.ratls.verify import RatlsFormat
from belljar.attestation.snp.verify import SnpFormat
from belljar.attestation.steps import Trail
from belljar.attestation.tpm_quote.verify import TpmFormat
from belljar.attestation.x509 import der

from .vendors import (
    COMPONENTS,
    FMSPC,
    NOW,
    Authority,
    Wish,
    authority,
    chip_extensions,
    crl,
    issue,
    p256,
    p384,
    pck_extension,
    raw,
)

SNP, DCAP, TPM, RATLS = SnpFormat(), DcapFormat(), TpmFormat(), RatlsFormat()
MEASUREMENT = bytes(range(48))
REPORT_DATA = hashlib.sha512(b"what the attester binds").digest()
QE_SIGNER = bytes.fromhex("8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff")
TD_QE_SIGNER = bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")
VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")


@functools.cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return the key of this name: RSA keys take a tenth of a second, and a test does not mind sharing them."""
    assert name
    return rsa.generate_private_key(65537, bits)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Evidence, and all that is needed to verify it."""

    name: str
    kind: EvidenceFormat
    evidence: bytes
    endorsements: Endorsements
    roots: frozenset[bytes]
    now: int = NOW
    require_crls: bool = True

    @property
    def trust(self) -> Trust:
        """What the case rests on."""
        return Trust(roots=self.roots, now=self.now, require_crls=self.require_crls)

    def verify(self, trail: Trail | None = None) -> Claims:
        """Return its claims."""
        return self.kind.verify(self.evidence, endorsements=self.endorsements, trust=self.trust, trail=trail or Trail())

    def but(self, **changes: Any) -> Case:
        """Return the case with something else in it."""
        return replace(self, **changes)


# -- SEV-SNP ---------------------------------------------------------------------------------------------------------

TCBS = {
    "Milan-B0": {"bootloader": 4, "tee": 0, "snp": 24, "microcode": 219},
    "Genoa-B0": {"bootloader": 10, "tee": 0, "snp": 23, "microcode": 84},
    "Turin-B0": {"fmc": 1, "bootloader": 1, "tee": 1, "snp": 4, "microcode": 75},
}
CPUS = {"Milan-B0": (0x19, 0x01), "Genoa-B0": (0x19, 0xA1), "Turin-B0": (0x1A, 0x02)}


def tcb_bytes(product: str, tcb: dict[str, int]) -> bytes:
    """Return a TCB as a report has it."""
    if product.startswith("Turin"):
        return bytes([tcb["fmc"], tcb["bootloader"], tcb["tee"], tcb["snp"], 0, 0, 0, tcb["microcode"]])
    return bytes([tcb["bootloader"], tcb["tee"], 0, 0, 0, 0, tcb["snp"], tcb["microcode"]])


@dataclass
class Amd:
    """AMD in miniature: one product, its chain, one chip."""

    product: str = "Milan-B0"
    vlek: bool = False
    rsa_bits: int = 2048  # AMD's are of 4096, which take seconds to make
    chip: Wish = field(default_factory=Wish)
    ark: Authority = field(init=False)
    ask: Authority = field(init=False)
    vcek: Authority = field(init=False)

    def __post_init__(self) -> None:
        """Make the chain."""
        line = self.product.partition("-")[0]
        keys = [rsa_key(f"{name} {self.rsa_bits}", self.rsa_bits) for name in ("ARK", "ASK")]
        self.ark = issue(f"ARK-{line}", keys[0], wish=Wish(extensions=authority()))
        middle = f"SEV-VLEK-{line}" if self.vlek else f"SEV-{line}"
        self.ask = issue(middle, keys[1], self.ark, Wish(extensions=authority(0)))
        struct_version = 1 if line == "Turin" else 0
        chip_id = None if self.vlek else self.chip_id
        extensions = chip_extensions(self.product, TCBS[self.product], chip_id=chip_id, struct_version=struct_version)
        leaf = "SEV-VLEK" if self.vlek else "SEV-VCEK"
        self.vcek = issue(leaf, p384(), self.ask, replace(self.chip, extensions=[*extensions, *self.chip.extensions]))

    @property
    def chip_id(self) -> bytes:
        """Which chip."""
        return hashlib.sha512(b"chip").digest()[: 8 if self.product.startswith("Turin") else 64]

    def report(self, version: int = 3, **changes: bytes) -> bytes:
        """Return a signed report; `changes` name offsets such as `x08` and the bytes to put there."""
        tcb = tcb_bytes(self.product, TCBS[self.product])
        body = bytearray(0x2A0)
        fields: dict[int, bytes] = {
            0x00: struct.pack("<II", version, 7),
            0x08: (0x30000).to_bytes(8, "little"),
            0x34: struct.pack("<I", 1),
            0x38: tcb,
            0x48: struct.pack("<I", (1 << 2) if self.vlek else 0),
            0x50: REPORT_DATA,
            0x90: MEASUREMENT,
            0xE0: hashlib.sha384(b"id key").digest(),
            0x180: tcb,
            0x1A0: bytes(64) if self.vlek else self.chip_id.ljust(64, b"\0"),
            0x1E0: tcb,
            0x1F0: tcb,
        }
        if version >= 3:
            fields[0x188] = bytes([*CPUS[self.product], 1])
        fields |= {int(name[1:], 16): value for name, value in changes.items()}
        for offset, value in fields.items():
            body[offset : offset + len(value)] = value
        return bytes(body) + self.sign(bytes(body))

    def sign(self, body: bytes) -> bytes:
        """Return the signature of a report's body, as a report has it."""
        key = self.vcek.key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        numbers = decode_dss_signature(key.sign(body, ec.ECDSA(hashes.SHA384())))
        return b"".join(number.to_bytes(72, "little") for number in numbers) + bytes(368)

    def case(self, version: int = 3, **changes: bytes) -> Case:
        """Return a report with its chain."""
        return Case(
            name=f"snp-{self.product}-v{version}{'-vlek' if self.vlek else ''}",
            kind=SNP,
            evidence=self.report(version, **changes),
            endorsements=Endorsements(certificates=(self.vcek.der, self.ask.der, self.ark.der), crls=(crl(self.ark),)),
            roots=frozenset({self.ark.pin}),
        )


# -- SGX and TDX -----------------------------------------------------------------------------------------------------


def signature(key: Any, message: bytes) -> bytes:
    """Return r and s of 32 bytes each."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def sgx_body(attributes: bytes = b"\x05", **fields: Any) -> bytes:
    """Return an enclave's report body."""
    body = bytearray(384)
    body[48 : 48 + len(attributes)] = attributes
    body[64:96] = fields.get("mrenclave", MEASUREMENT[:32])
    body[128:160] = fields.get("mrsigner", hashlib.sha256(b"signer").digest())
    body[256:260] = struct.pack("<HH", fields.get("prod_id", 3), fields.get("svn", 5))
    body[320:384] = fields.get("report_data", REPORT_DATA)
    return bytes(body)


def td_body(*, later: bool = False, attributes: bytes = b"\0\0\0\x10", tcb_svn: bytes = b"\x05\0\x02") -> bytes:
    """Return a trust domain's report body."""
    body = bytearray(648 if later else 584)
    body[: len(tcb_svn)] = tcb_svn
    body[120 : 120 + len(attributes)] = attributes
    body[136:184] = MEASUREMENT
    for index in range(4):
        body[328 + 48 * index : 376 + 48 * index] = hashlib.sha384(b"rtmr%d" % index).digest()
    body[520:584] = REPORT_DATA
    return bytes(body)


@dataclass
class Intel:
    """Intel in miniature: the root, a PCK CA, one processor, the TCB signer, a quoting enclave."""

    tdx: bool = False
    root: Authority = field(init=False)
    ca: Authority = field(init=False)
    pck: Authority = field(init=False)
    tcb: Authority = field(init=False)
    pck_wish: Wish = field(default_factory=lambda: Wish(extensions=[pck_extension()]))

    def __post_init__(self) -> None:
        """Make the chains."""
        self.root = issue("Intel SGX Root CA", p256(), wish=Wish(extensions=authority(1)))
        self.ca = issue("Intel SGX PCK Platform CA", p256(), self.root, Wish(extensions=authority(0)))
        self.pck = issue("Intel SGX PCK Certificate", p256(), self.ca, self.pck_wish)
        self.tcb = issue("Intel SGX TCB Signing", p256(), self.root)

    def quote(self, version: int = 3, body: bytes | None = None, qe: bytes | None = None) -> bytes:
        """Return a quote; `qe` are attributes of the quoting enclave."""
        body = body or (td_body(later=version == 5) if self.tdx else sgx_body())
        head = struct.pack("<HHI4s16s20s", version, 2, 0x81 if self.tdx else 0, b"", VENDOR, b"user")
        if version == 5:
            head += struct.pack("<HI", {384: 1, 584: 2, 648: 3}[len(body)], len(body))
        key = p256()
        attestation_key = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
        auth = bytes(range(32))
        report = sgx_body(
            qe or b"\x11", mrsigner=TD_QE_SIGNER if self.tdx else QE_SIGNER, prod_id=2 if self.tdx else 1, svn=8,
            report_data=hashlib.sha256(attestation_key + auth).digest() + bytes(32),
        )  # fmt: skip
        chain = self.pck.pem + self.ca.pem + self.root.pem
        enclave = report + signature(self.pck.key, report) + struct.pack("<H", len(auth)) + auth
        enclave += struct.pack("<HI", 5, len(chain)) + chain
        if version > 3:
            enclave = struct.pack("<HI", 6, len(enclave)) + enclave
        tail = signature(key, head + body) + attestation_key + enclave
        return head + body + struct.pack("<I", len(tail)) + tail

    def collateral(self, tcb_info: dict[str, Any] | None = None, identity: dict[str, Any] | None = None) -> Collateral:
        """Return signed collateral; the arguments replace members."""
        info = json.dumps(self.tcb_info() | (tcb_info or {}), separators=(",", ":")).encode()
        qe = json.dumps(self.identity() | (identity or {}), separators=(",", ":")).encode()
        return Collateral(
            tcb_info=info,
            tcb_info_signature=signature(self.tcb.key, info),
            qe_identity=qe,
            qe_identity_signature=signature(self.tcb.key, qe),
            tcb_chain=(self.tcb.der, self.root.der),
        )

    def tcb_info(self) -> dict[str, Any]:
        """Return what the TCB info says."""
        tcb: dict[str, Any] = {"sgxtcbcomponents": [{"svn": svn} for svn in COMPONENTS], "pcesvn": 13}
        if self.tdx:
            tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in (5, 0, 2, *([0] * 13))]
        level = {"tcb": tcb, "tcbDate": stamp(-30), "tcbStatus": "UpToDate"}
        worse = json.loads(json.dumps(level)) | {"tcbStatus": "OutOfDate", "advisoryIDs": ["INTEL-SA-00001"]}
        worse["tcb"]["pcesvn"] = 5
        module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
        info: dict[str, Any] = {
            "id": "TDX" if self.tdx else "SGX", "version": 3, "issueDate": stamp(-1), "nextUpdate": stamp(29),
            "fmspc": FMSPC.hex().upper(), "pceId": "0000", "tcbType": 0, "tcbEvaluationDataNumber": 17,
        }  # fmt: skip
        if self.tdx:
            info["tdxModule"] = module
            info["tdxModuleIdentities"] = [{"id": "TDX_01", **module, "tcbLevels": [enclave_level(2)]}]
        return info | {"tcbLevels": [level, worse]}

    def identity(self) -> dict[str, Any]:
        """Return what the QE identity says."""
        return {
            "id": "TD_QE" if self.tdx else "QE", "version": 2, "issueDate": stamp(-1), "nextUpdate": stamp(29),
            "tcbEvaluationDataNumber": 17, "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
            "attributes": "11" + "00" * 15, "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": (TD_QE_SIGNER if self.tdx else QE_SIGNER).hex().upper(), "isvprodid": 2 if self.tdx else 1,
            "tcbLevels": [enclave_level(8), enclave_level(1, "OutOfDate")],
        }  # fmt: skip

    def crls(self) -> tuple[bytes, ...]:
        """Return both revocation lists."""
        return crl(self.root), crl(self.ca)

    def case(self, version: int = 3, **quote: Any) -> Case:
        """Return a quote with all its collateral."""
        return Case(
            name=f"{'tdx' if self.tdx else 'sgx'}-v{version}",
            kind=DCAP,
            evidence=self.quote(version, **quote),
            endorsements=Endorsements(crls=self.crls(), collateral=self.collateral()),
            roots=frozenset({self.root.pin}),
        )

    def ratls(self, *, null: bool = False, **changes: Any) -> Case:
        """Return an RA-TLS certificate with a quote in it; `null` writes ECDSA as old mbedTLS does."""
        key = p256()
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        digest = hashlib.sha256(changes.get("spki", spki)).digest()
        members = {"pubkey-hash": encode([1, digest])} | changes.get("members", {"nonce": b"nonce-16-bytes.."})
        claims = encode(members)
        data = changes.get("report_data", hashlib.sha256(claims).digest() + bytes(32))
        quote = self.quote(3, sgx_body(report_data=data))
        extension = raw("2.23.133.5.4.9", encode(Tagged(tag=60000, value=[quote, claims])))
        made = issue("RATLS", key, wish=Wish(extensions=[extension, *changes.get("extensions", [])]))
        content = with_null(made.certificate, key) if null else made.der
        return self.case().but(name=f"ra-tls{'-null' if null else ''}", kind=RATLS, evidence=content)


def with_null(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a certificate whose signature algorithm has NULL parameters, signed anew."""
    plain, null = (bytes.fromhex(text) for text in ("300a06082a8648ce3d040302", "300c06082a8648ce3d0403020500"))
    body = certificate.tbs_certificate_bytes
    start = 4 if body[1] == 0x82 else 3
    inner = body[start:].replace(plain, null, 1)
    tbs = der.spell(der.SEQUENCE, inner)
    made: bytes = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return der.spell(der.SEQUENCE, tbs + null + der.spell(der.BIT_STRING, b"\0" + made))


def stamp(days: int) -> str:
    """Return a time so many days after `NOW`."""
    return f"{datetime.fromtimestamp(NOW, UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


def enclave_level(svn: int, status: str = "UpToDate") -> dict[str, Any]:
    """Return a level of an enclave."""
    return {"tcb": {"isvsvn": svn}, "tcbDate": stamp(-30), "tcbStatus": status}


# -- TPM -------------------------------------------------------------------------------------------------------------

PCRS = {8: hashlib.sha256(b"pcr 8").digest(), 16: hashlib.sha256(b"pcr 16").digest()}


def attest(extra: bytes = REPORT_DATA, **changes: Any) -> bytes:
    """Return TPMS_ATTEST of a quote of `PCRS`."""
    bits = bytearray(3)
    for number in PCRS:
        bits[number // 8] |= 1 << number % 8
    digest: bytes = changes.get("digest", hashlib.sha256(b"".join(PCRS.values())).digest())
    head = struct.pack(">IH", changes.get("magic", 0xFF544347), changes.get("type", 0x8018))
    names = struct.pack(">H", 34) + b"\x00\x0b" + bytes(32) + struct.pack(">H", len(extra)) + extra
    clock = struct.pack(">QIIBQ", 1234567, 3, 1, changes.get("safe", 1), 0x20200101)
    selection = struct.pack(">IHB", 1, 0x000B, 3) + bytes(bits)
    return head + names + clock + selection + struct.pack(">H", len(digest)) + digest


def tpm_signature(key: Any, message: bytes, scheme: str) -> bytes:
    """Return TPMT_SIGNATURE."""
    if scheme == "ecdsa":
        numbers = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
        parts = [number.to_bytes(32, "big") for number in numbers]
        return struct.pack(">HH", 0x18, 0x0B) + b"".join(struct.pack(">H", 32) + part for part in parts)
    pad: Any = padding.PKCS1v15()
    if scheme == "rsapss":
        pad = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.MAX_LENGTH)
    made: bytes = key.sign(message, pad, hashes.SHA256())
    return struct.pack(">HHH", 0x14 if scheme == "rsassa" else 0x16, 0x0B, len(made)) + made


def tpm_case(scheme: str = "ecdsa", *, certified: bool = False, message: bytes | None = None) -> Case:
    """Return a TPM's quote in Trustee's JSON, its key pinned or certified."""
    key: Any = p256() if scheme == "ecdsa" else rsa_key("AK")
    message = message or attest()
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    body = {
        "ak_public": base64.b64encode(public).decode(),
        "tpm_quote": {
            "message": base64.b64encode(message).decode(),
            "pcrs": [value.hex() for value in PCRS.values()],
            "signature": base64.b64encode(tpm_signature(key, message, scheme)).decode(),
        },
    }
    maker = issue("TPM maker", p384(), wish=Wish(extensions=authority(0)))
    leaf = issue("AK", key, maker)
    return Case(
        name=f"tpm-{scheme}{'-certified' if certified else ''}",
        kind=TPM,
        evidence=json.dumps(body).encode(),
        endorsements=Endorsements(certificates=(leaf.der, maker.der) if certified else (), crls=(crl(maker),)),
        roots=frozenset({maker.pin if certified else key_digest(key.public_key())}),
    )


@functools.cache
def every_case() -> dict[str, Case]:
    """Return one case of each kind, version and scheme, by name."""
    sgx, tdx = Intel(), Intel(tdx=True)
    milan = Amd()
    made = [
        *(milan.case(version) for version in (2, 3, 5)),
        Amd("Genoa-B0").case(),
        Amd("Turin-B0").case(5),
        Amd(vlek=True).case(),
        *(sgx.case(version) for version in (3, 4, 5)),
        *(tdx.case(version) for version in (4, 5)),
        *(tpm_case(scheme) for scheme in ("ecdsa", "rsassa", "rsapss")),
        tpm_case(certified=True),
        sgx.ratls(),
        sgx.ratls(null=True),
    ]
    return {case.name: case for case in made}

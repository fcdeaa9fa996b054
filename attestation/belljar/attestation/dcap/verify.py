"""SGX and TDX quotes verified in numbered steps, from the body up to Intel's root (Intel DCAP, 4.1.2).

1. the quote parses; 2. its PCK chain ends in a pinned root and nothing on it is revoked; 3. the PCK key signed the
report of the quoting enclave; 4. that report holds the digest of the attestation key; 5. the attestation key signed
the quote; 6. the quoting enclave is Intel's and not a debug one; 7. with collateral: how the platform stands (tcb.py).
Without collateral `tcb_status` stays None, and a policy refuses that unless it says otherwise. Pure.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from belljar.attestation.claims import Claims, ClaimValue, Tee
from belljar.attestation.x509.certificate import parse_crl, parse_pem_chain
from belljar.attestation.x509.chain import Chain, Material, common_name, parsed, verify_chain

from .bodies import SgxBody, TdBody
from .collateral import verify_collateral
from .pck import Pck, parse_pck
from .quote import Quote, parse_quote
from .signatures import holds, public_key
from .tcb import Standing, judge

if TYPE_CHECKING:
    from belljar.attestation.evidence import Endorsements, Trust
    from belljar.attestation.steps import Trail

_PCK_NAME = "Intel SGX PCK Certificate"
_CA_NAMES = ("Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA")
_QE_SIGNERS = {  # of Intel's quoting enclaves for SGX and TDX: what its QE identities have said since 2019
    False: bytes.fromhex("8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff"),
    True: bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5"),
}


class DcapFormat:
    """Quotes of SGX (version 3, 4, 5) and TDX (version 4, 5)."""

    name = "dcap-quote"
    media_types = frozenset({"application/vnd.intel.sgx-quote", "application/vnd.intel.tdx-quote"})

    def recognises(self, evidence: bytes) -> bool:
        """Say whether the bytes begin like a quote: version, kind of key, and Intel as vendor."""
        return evidence[:2] in (b"\x03\0", b"\x04\0", b"\x05\0") and evidence[12:16] == b"\x93\x9a\x72\x33"

    def verify(self, evidence: bytes, *, endorsements: Endorsements, trust: Trust, trail: Trail) -> Claims:
        """Return what a quote says, once all steps held.

        Raises:
            EvidenceRefused: a step failed.
        """
        quote = parse_quote(evidence)
        trail.note("quote: layout", f"version {quote.version}, {len(evidence)} bytes", "version 3 to 5", passed=True)
        chain = _pck_chain(quote, endorsements, trust, trail)
        pck = parse_pck(chain.leaf)
        _check_signatures(quote, pck, trail)
        standing = _standing(quote, chain, endorsements, trust, trail)
        return _claims(quote, pck, chain.root, standing)


def _pck_chain(quote: Quote, endorsements: Endorsements, trust: Trust, trail: Trail) -> Chain:
    brought = parse_pem_chain(quote.quoting_enclave.pck_chain, "PCK chain")
    collateral = endorsements.collateral
    others = parsed(collateral.pck_chain, "PCK issuer chain") if collateral and len(brought) == 1 else ()
    crls = tuple(parse_crl(der) for der in endorsements.crls)
    material = Material(what="PCK chain", certificates=(*brought[1:], *others), crls=crls)
    chain = verify_chain(brought[0], material, trust, trail)
    used = set(brought) <= set(chain.certificates)
    trail.check("PCK chain: certificates beside it in the quote", "none" if used else "some", "none", passed=used)
    names = tuple(common_name(certificate) for certificate in chain.certificates)
    named = len(names) == 3 and names[0] == _PCK_NAME and names[1] in _CA_NAMES
    trail.check("PCK chain: names", " < ".join(names), f"{_PCK_NAME} < a PCK CA < root", passed=named)
    return chain


def _check_signatures(quote: Quote, pck: Pck, trail: Trail) -> None:
    enclave = quote.quoting_enclave
    held = holds(pck.key, enclave.signature, enclave.report)
    trail.check("quoting enclave: report signed by PCK", _word(held), "holds", passed=held)
    digest = hashlib.sha256(quote.attestation_key + enclave.auth).digest()
    trail.equal("quoting enclave: attestation key", enclave.body.report_data, digest.ljust(64, b"\0"))
    held = holds(public_key(quote.attestation_key), quote.signature, quote.signed)
    trail.check("quote: signature", _word(held), "holds", passed=held)
    debug = enclave.body.debug
    trail.check("quoting enclave: debug", debug, expected=False, passed=not debug)
    signer = _QE_SIGNERS[isinstance(quote.body, TdBody)]
    trail.equal("quoting enclave: Intel's signer", enclave.body.mrsigner, signer)


def _word(held: object) -> str:
    return "holds" if held else "does not hold"


def _standing(quote: Quote, chain: Chain, endorsements: Endorsements, trust: Trust, trail: Trail) -> Standing | None:
    if endorsements.collateral is None:
        trail.note("TCB collateral", "none", "none: the policy decides", passed=True)
        return None
    info, identity, signer = verify_collateral(endorsements.collateral, endorsements, trust, trail)
    trail.equal("TCB signing chain: root of the PCK chain", signer.root, chain.root)
    bodies = (quote.body, quote.quoting_enclave.body)
    return judge(info, identity, parse_pck(chain.leaf), bodies, trail)


def _claims(quote: Quote, pck: Pck, root: bytes, standing: Standing | None) -> Claims:
    body = quote.body
    td = isinstance(body, TdBody)
    return Claims(
        tee=Tee.TDX if td else Tee.SGX,
        format=f"{'tdx' if td else 'sgx'}-quote-v{quote.version}",
        measurement=body.mrtd if isinstance(body, TdBody) else body.mrenclave,
        signer=_signer(body),
        product_id=None if isinstance(body, TdBody) else body.isv_prod_id,
        svn=None if isinstance(body, TdBody) else body.isv_svn,
        provider=pck.platform_instance or pck.ppid,
        root=root,
        debug=body.debug,
        simulated=False,
        report_data=body.report_data,
        tcb_status=None if standing is None else standing.status,
        advisories=() if standing is None else standing.advisories,
        platform=_common(pck, standing) | (_td(body) if isinstance(body, TdBody) else _sgx(body)),
    )


def _signer(body: SgxBody | TdBody) -> bytes | None:
    if isinstance(body, SgxBody):
        return body.mrsigner
    return body.mrowner if any(body.mrowner) else None


def _common(pck: Pck, standing: Standing | None) -> dict[str, ClaimValue]:
    found: dict[str, ClaimValue] = {"fmspc": pck.fmspc, "pce_id": pck.pce_id, "ppid": pck.ppid, "smt": pck.smt}
    if standing is not None:
        found |= {"tcb_date": standing.date, "tcb_evaluation": standing.evaluation}
    return found


def _sgx(body: SgxBody) -> dict[str, ClaimValue]:
    return {
        "mrenclave": body.mrenclave,
        "mrsigner": body.mrsigner,
        "isvprodid": body.isv_prod_id,
        "isvsvn": body.isv_svn,
        "attributes": body.attributes,
        "misc_select": body.misc_select,
        "config_id": body.config_id,
        "config_svn": body.config_svn,
        "cpu_svn": body.cpu_svn,
    }


def _td(body: TdBody) -> dict[str, ClaimValue]:
    return {
        "mrtd": body.mrtd,
        **{f"rtmr{index}": rtmr for index, rtmr in enumerate(body.rtmrs)},
        "td_attributes": body.td_attributes,
        "xfam": body.xfam,
        "mrseam": body.mrseam,
        "mrconfigid": body.mrconfigid,
        "mrowner": body.mrowner,
        "mrownerconfig": body.mrownerconfig,
        "tee_tcb_svn": body.tee_tcb_svn,
        "mrservicetd": body.mrservicetd,
    }

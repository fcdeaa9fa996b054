"""What differs between generations of EPYC: the order of TCB numbers, the length of the chip id, and AMD's roots.

Milan and Genoa (families 19h): TCB = bootloader, tee, 4 reserved, snp, microcode; chip id of 64 bytes.
Turin (family 1Ah): TCB = fmc, bootloader, tee, snp, 3 reserved, microcode; chip id of 8 bytes, then zeros
(AMD 57230, tables of certificate extensions; 56860, TCB_VERSION). Values only. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.errors import EvidenceRefused

if TYPE_CHECKING:
    from .report import Cpu


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One generation of processors.

    Attributes:
        name: what AMD's certificates call it, before any dash.
        models: (family, first model, last model).
        tcb: which byte of a TCB is which number.
        chip_id_bytes: how many bytes of a report's chip id are used.
        struct_version: of its VCEK's extensions.
    """

    name: str
    models: tuple[tuple[int, int, int], ...]
    tcb: tuple[tuple[str, int], ...]
    chip_id_bytes: int
    struct_version: int


_ZEN3 = (("bootloader", 0), ("tee", 1), ("snp", 6), ("microcode", 7))
_ZEN5 = (("fmc", 0), ("bootloader", 1), ("tee", 2), ("snp", 3), ("microcode", 7))

GENERATIONS = (
    Generation(name="Milan", models=((0x19, 0x00, 0x0F),), tcb=_ZEN3, chip_id_bytes=64, struct_version=0),
    Generation(
        name="Genoa", models=((0x19, 0x10, 0x1F), (0x19, 0xA0, 0xAF)), tcb=_ZEN3, chip_id_bytes=64, struct_version=0
    ),
    Generation(name="Turin", models=((0x1A, 0x00, 0x11),), tcb=_ZEN5, chip_id_bytes=8, struct_version=1),
)
TCB_NUMBERS = ("bootloader", "tee", "snp", "microcode", "fmc")


def generation_named(product: str) -> Generation:
    """Return the generation of a product name, such as `Milan-B0`.

    Raises:
        EvidenceRefused: it is none we know.
    """
    for generation in GENERATIONS:
        if product.partition("-")[0] == generation.name:
            return generation
    names = ", ".join(generation.name for generation in GENERATIONS)
    raise EvidenceRefused(f"SNP certificate: got product {product!r}, expected one of {names}")


def is_of(cpu: Cpu, generation: Generation) -> bool:
    """Say whether a processor is of a generation."""
    return any(cpu.family == family and first <= cpu.model <= last for family, first, last in generation.models)


def tcb_numbers(tcb: bytes, generation: Generation) -> dict[str, int]:
    """Return the numbers in the 8 bytes of a TCB."""
    return {name: tcb[index] for name, index in generation.tcb}

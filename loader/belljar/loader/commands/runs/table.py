"""Tables for people: columns as wide as what stands in them."""

from __future__ import annotations


def aligned(rows: list[list[str]]) -> list[str]:
    """Return lines of equally many columns, two spaces between them; control characters are made visible."""
    shown = [["".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in shown
    ]

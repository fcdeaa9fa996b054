"""`belljar explain`: say what a run was refused, and the manifest lines that would allow it."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, cast

from belljar.libos.enclave import Refusal
from belljar.libos.lifecycle import ask
from belljar.loader.commands.errors import loader_errors
from belljar.loader.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from belljar.loader.options import Parsed

_IN_SUMMARY = 4
_USUAL = ("/etc/localtime", "/etc/ld.so.preload", "/usr/lib/locale", "/usr/share/locale", "/usr/share/zoneinfo")
"""Looked for by nearly every program, and not missed: shown last, and never in a summary."""
_NOT_HOSTS = (".arpa", ".local", ".localdomain")
"""Ends of names that are looked up beside those of servers, and not missed, either."""
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_NO_LINE = "no line of a manifest would: it is not the name of a host"
_OF_THE_NETWORK = {
    "name": "the name {} was looked up: it does not exist in the enclave",
    "server": "TLS with the server {} was begun where the manifest opens another one",
    "address": "{} was called: its address is not of the public Internet",
}


def main(parsed: Parsed) -> int:
    """Print what a run was refused."""
    if len(parsed.words) != 1:
        raise UsageError("expected the name of one run", hint="belljar ps --all lists them")
    with loader_errors():
        answer = ask(parsed.words[0], "refused")
    rows = cast("list[dict[str, object]]", answer.get("refused", []))
    refused = [Refusal.from_fields(row[name] for name in Refusal.__annotations__) for row in rows]
    if parsed.has("json"):
        told = [{**row, "allow": _line(refusal)} for row, refusal in zip(rows, refused, strict=True)]
        sys.stdout.write(json.dumps({"name": parsed.words[0], "refused": told}, indent=2) + "\n")
    elif not refused:
        sys.stdout.write("nothing was refused\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in explanation(refused))
    return 0


def summary(refused: Sequence[Refusal], name: str | None = None) -> list[str]:
    """Return a few lines about a failed program, nothing if there is nothing that could have been missed.

    Args:
        refused: what it was refused.
        name: of the run, if that can be asked for again.
    """
    found = [refusal for refusal in _by_weight(refused) if not _is_usual(refusal)]
    if not found:
        return []
    lines = ["the enclave refused, and these lines of a manifest would allow:"]
    for refusal in found[:_IN_SUMMARY]:
        lines += [f"  {_what(refusal)}", f"    {_line(refusal) or _NO_LINE}"]
    more = len(refused) - len(found[:_IN_SUMMARY])
    return lines if name is None else [*lines, f"  {f'{more} more' if more > 0 else 'again'}: belljar explain {name}"]


def explanation(refused: Iterable[Refusal]) -> list[str]:
    """Return every refusal, with the line that would allow it."""
    lines: list[str] = []
    for refusal in _by_weight(refused):
        lines += [_what(refusal), f"  {_line(refusal) or _NO_LINE}"]
    return lines


def _by_weight(refused: Iterable[Refusal]) -> list[Refusal]:
    return sorted(refused, key=_weight)


def _weight(refusal: Refusal) -> tuple[bool, bool, str]:
    return _is_usual(refusal), refusal.kind == "path", refusal.what


def _is_usual(refusal: Refusal) -> bool:
    if refusal.kind == "name":
        return _line(refusal) is None or refusal.what.endswith(_NOT_HOSTS)
    return refusal.what.startswith(_USUAL) or refusal.what.endswith("/gconv")


def _what(refusal: Refusal) -> str:
    if refusal.kind == "system-call":
        times = "once" if refusal.count == 1 else f"{refusal.count} times"
        by = f", by {refusal.program}" if refusal.program else ""
        return f"system call {refusal.what}: denied (EPERM) {times}{by}"
    if refusal.kind in _OF_THE_NETWORK:
        return _OF_THE_NETWORK[refusal.kind].format(refusal.what)
    below = ", or something below it," if os.path.isdir(refusal.host) else ""
    of = "the host" if refusal.host == refusal.what else f"the host ({refusal.host})"
    return f"{refusal.what}{below} was looked for: {of} has it, the enclave has not"


def _line(refusal: Refusal) -> str | None:
    """Return the line that would allow it; None if there is none."""
    if refusal.kind == "system-call":
        return f"system_calls: {{insecure_allow: [{refusal.what}]}}"
    if refusal.kind in _OF_THE_NETWORK:
        return _network_line(refusal)
    below = "/…" if os.path.isdir(refusal.host) else ""
    path, host = (json.dumps(text + below, ensure_ascii=False) for text in (refusal.what, refusal.host))
    return f"mounts: [{{type: hashed, path: {path}, source: {host}}}]"


def _network_line(refusal: Refusal) -> str | None:
    if not _HOST.fullmatch(refusal.what) or refusal.what.replace(".", "").isdigit() or refusal.what == "localhost":
        return None
    how = "insecure_private: true" if refusal.kind == "address" else "port: 443"
    return f"network: {{internet: [{{name: {refusal.what}, {how}}}]}}"

"""Answers questions for names inside of the enclave: those of the manifest have an address there, no other exists.

For programs with resolvers of their own; the C library finds the same names in /etc/hosts. In come DNS messages of the
guest, read by dnspython; out come answers (RFC 1035). Nothing is ever asked outside: what a program looks up tells
nobody.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from .doors import Visit
    from .journal import Counts, Journal

_TTL_S = 60
_MAX_UDP = 512
_PATIENCE_S = 10.0
_MAX_NAMED = 64  # unknown names are told once each, so many


class Names:
    """Answers questions.

    Args:
        known: name, in lower case -> IPv4 address inside.
        counts: where questions are counted.
        journal: told of names that are asked for and not allowed.
        patience_s: for all questions of one connection.
    """

    def __init__(
        self, known: Mapping[str, str], counts: Counts, journal: Journal, *, patience_s: float = _PATIENCE_S
    ) -> None:
        self._known = known
        self._counts = counts
        self._journal = journal
        self._patience_s = patience_s
        self._told: set[str] = set()

    def answer(self, question: bytes) -> bytes | None:
        """Return the answer to one message; None if it is none that can be answered."""
        try:
            asked = dns.message.from_wire(question)
            if asked.flags & dns.flags.QR:
                return None
            answer = dns.message.make_response(asked, recursion_available=True)
            answer.set_rcode(self._fill(asked, answer))
            return answer.to_wire()
        except (dns.exception.DNSException, ValueError, NotImplementedError):
            return None

    def _fill(self, asked: dns.message.Message, answer: dns.message.Message) -> dns.rcode.Rcode:
        if asked.opcode() != dns.opcode.QUERY or len(asked.question) != 1:
            return dns.rcode.NOTIMP
        self._counts.questions += 1
        wanted = asked.question[0]
        name = wanted.name.to_text(omit_final_dot=True).lower()
        address = self._known.get(name)
        if address is None:
            self._note(name)
            return dns.rcode.NXDOMAIN
        if wanted.rdtype in (dns.rdatatype.A, dns.rdatatype.ANY) and wanted.rdclass == dns.rdataclass.IN:
            answer.answer.append(dns.rrset.from_text(wanted.name, _TTL_S, "IN", "A", address))
        return dns.rcode.NOERROR

    def _note(self, name: str) -> None:
        self._counts.unknown_names += 1
        self._counts.unmet.note("name", name)
        if name not in self._told and len(self._told) < _MAX_NAMED:
            self._told.add(name)
            self._journal.say(f"the program asked for the name {name[:80]}, which its manifest does not allow")

    def serve_datagrams(self, receiver: socket.socket) -> None:
        """Answer what has arrived; the socket is not blocking."""
        for _ in range(_MAX_NAMED):
            try:
                question, place = receiver.recvfrom(_MAX_UDP)
                answer = self.answer(question)
                if answer is not None:
                    receiver.sendto(answer, place)
            except OSError:  # nothing more, or nobody to answer
                return

    async def serve_stream(self, visit: Visit) -> None:
        """Answer the questions of one connection, each behind its length (RFC 1035 4.2.2)."""
        reader, writer = await asyncio.open_connection(sock=visit.take())
        writer.transport.set_write_buffer_limits(high=0)  # drain: until the kernel has it all
        try:
            async with asyncio.timeout(self._patience_s):
                while head := await reader.read(1):
                    size = int.from_bytes(head + await reader.readexactly(1), "big")
                    answer = self.answer(await reader.readexactly(size))
                    if answer is None:
                        return
                    writer.write(len(answer).to_bytes(2, "big") + answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, TimeoutError):
            return
        finally:
            writer.transport.abort()  # to close it would wait for who asks and reads no answer, for ever


def addresses_of(named: list[tuple[str, str]]) -> dict[str, str]:
    """Return name -> address of (name, "IP:PORT")."""
    return {name.lower(): place.partition(":")[0] for name, place in named if name}

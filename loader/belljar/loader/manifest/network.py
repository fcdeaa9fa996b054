"""What a manifest may open of the network: addresses outside that lead in, and places outside that the program reaches.

In come plain values; out come frozen sections. Whatever is reached, or reaches in, without attestation or certificates
has a key that begins with `insecure_`. Files are named here, and read in `opening.py`.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from typing import Annotated, Literal, LiteralString

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from .section import Duration, Section, Text

UNIX = "unix:"
MAX_ENTRIES = 64
_MAX_PATH = 107  # sun_path (unix(7)), with its NUL
_PORT = re.compile(r"[0-9]{1,5}")
_HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_TEN_MINUTES, _TEN_SECONDS = 600_000, 10_000
_LONGEST_HANDSHAKE = 300_000


def _wrong(message: LiteralString, **context: str) -> PydanticCustomError:
    return PydanticCustomError("address", message, dict(context))


def _is_port(text: str, *, least: int = 1) -> bool:
    return bool(_PORT.fullmatch(text)) and least <= int(text) <= 65535


def _unix_path(value: str) -> str:
    path = value.removeprefix(UNIX)
    if not path or len(path.encode(errors="surrogateescape")) > _MAX_PATH or "\0" in path:
        raise _wrong("got {value}, expected unix:PATH with a path of at most 107 bytes", value=value[:200])
    return value


def _outside(value: str) -> str:
    if value.startswith(UNIX):
        return _unix_path(value)
    host, _, port = value.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not _is_port(port, least=0) or not bare or (":" in bare and host == bare):
        raise _wrong("got {value}, expected HOST:PORT, [IPv6]:PORT or unix:PATH", value=value[:200])
    if not _is_address(bare) and not _HOST_NAME.fullmatch(bare.lower()):
        raise _wrong("got {value}, expected the name or the address of a host before the port", value=value[:200])
    return value


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _guest(value: object) -> object:
    """Return a place inside as a text: "8080", "name:8080" or "unix:/path"."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _inside(value: str) -> str:
    if value.startswith(UNIX):
        path = _unix_path(value).removeprefix(UNIX)
        if not path.startswith("/") or path != posixpath.normpath(path):
            raise _wrong("got {value}, expected unix: and an absolute path in the enclave", value=value)
        return value
    if not _is_port(value):
        raise _wrong("got {value}, expected a port from 1 to 65535, or unix:/path in the enclave", value=value[:200])
    return str(int(value))


def _inside_or_named(value: str) -> str:
    name, colon, port = value.rpartition(":")
    if not colon or value.startswith(UNIX):
        return _inside(value)
    return f"{_name(name)}:{_inside(port)}"


def _name(value: str) -> str:
    if not _HOST_NAME.fullmatch(value.lower()) or _is_address(value) or value.lower() == "localhost":
        raise _wrong("got {value}, expected the name of a host, such as api.example.com", value=value[:200])
    return value.lower()


def _as_mapping(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


class Document(Section):
    """A text that is measured: in a file, or here."""

    file: Text | None = Field(default=None, description="File that holds it; relative to the manifest.")
    text: Annotated[str, Field(max_length=256 << 10)] | None = Field(default=None, description="The text itself.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Document:
        if (self.file is None) == (self.text is None):
            raise _wrong("expected a file, or {{text: …}}")
        return self


_PLACE = {"type": ["integer", "string"], "examples": [8080, "unix:/run/app.sock"]}
Outside = Annotated[Text, AfterValidator(_outside)]
Inside = Annotated[Text, BeforeValidator(_guest), AfterValidator(_inside), WithJsonSchema(_PLACE)]
InsideOrNamed = Annotated[Text, BeforeValidator(_guest), AfterValidator(_inside_or_named), WithJsonSchema(_PLACE)]
HostName = Annotated[Text, AfterValidator(_name)]
Port = Annotated[int, Field(ge=1, le=65535)]
Connections = Annotated[int, Field(ge=1, le=10_000)]
Measured = Annotated[Document, BeforeValidator(_as_mapping), WithJsonSchema({"type": ["string", "object"]})]
Handshake = Annotated[Duration, Field(le=_LONGEST_HANDSHAKE)]
_CONNECTIONS = "Connections at a time."
_IDLE = "A connection without a byte for so long is cut."
_HANDSHAKE = "So long may it take until both sides are ready."
_REATTEST = "How often the other side must attest anew; by default once."
_RA_TLS = "TLS with evidence inside of certificates, for peers that know no attested channels: it shows no freshness."
_AUTHORITIES = "PEM file of certificates"


def _refuse_beside_ra_tls(names: list[str]) -> None:
    """Hold that nothing is asked which evidence in certificates that sign themselves does not have."""
    if names:
        raise _wrong("insecure_ra_tls: true goes without {names}: leave it out", names=", ".join(names))


class Listen(Section):
    """An address outside that leads to a port of the program, over attested channels."""

    outside: Outside = Field(
        description="Address of the host: HOST:PORT, [IPv6]:PORT or unix:PATH. Not measured: see belljar run --listen."
    )
    guest: Inside = Field(description="Where the program listens: a port of its 127.0.0.1, or unix:/path.")
    anyone: bool = Field(default=False, description="Clients need to prove nothing; they still verify this enclave.")
    policy: Measured | None = Field(default=None, description="Clients attest, and meet this appraisal policy.")
    endorsements: list[Text] = Field(default=[], description="Files that help to judge their evidence; not measured.")
    tokens: Text | None = Field(
        default=None, description="Clients show a token; the file holds digests, and is not measured."
    )
    authorities: Measured | None = Field(
        default=None, description=f"Clients show a certificate; {_AUTHORITIES} that it must rest on."
    )
    insecure_plain: bool = Field(default=False, description="Anybody connects, without TLS or attestation.")
    insecure_ra_tls: bool = Field(default=False, description=_RA_TLS)
    proxy_protocol: bool = Field(
        default=False, description="Tell the program who comes by a PROXY protocol header, version 2."
    )
    connections: Connections = Field(default=256, description=_CONNECTIONS)
    idle: Duration = Field(default=_TEN_MINUTES, description=_IDLE)
    handshake: Handshake = Field(default=_TEN_SECONDS, description=_HANDSHAKE)
    reattest: Duration | None = Field(default=None, description=_REATTEST)

    @model_validator(mode="after")
    def _who_may_come(self) -> Listen:
        asked = [name for name in ("policy", "tokens", "authorities") if getattr(self, name) is not None]
        ways = [*asked[:1], *(name for name in ("anyone", "insecure_plain") if getattr(self, name))]
        if len(ways) != 1:
            found = " and ".join(ways) or "nothing"
            raise _wrong(
                "who may connect? got {found}, expected some of policy, tokens and authorities, or anyone: true, or "
                "insecure_plain: true", found=found,
            )  # fmt: skip
        if self.insecure_ra_tls:
            beside = [name for name in ("insecure_plain", "tokens", "reattest") if getattr(self, name)]
            if self.policy is not None and self.authorities is not None:
                beside.append("policy with authorities")
            _refuse_beside_ra_tls(beside)
        return self


class Connect(Section):
    """A place inside that leads to another enclave, over attested channels."""

    guest: InsideOrNamed = Field(
        description="Where the program connects to: a port of its 127.0.0.1, NAME:PORT, or unix:/path."
    )
    outside: Outside = Field(description="Address of the other enclave; not measured, since its policy is.")
    policy: Measured | None = Field(default=None, description="The appraisal policy that the other enclave meets.")
    endorsements: list[Text] = Field(default=[], description="Files that help to judge its evidence; not measured.")
    token: Text | None = Field(
        default=None, description="File with a token to show, once the other enclave is believed; not measured."
    )
    authorities: Measured | None = Field(
        default=None, description=f"{_AUTHORITIES} that the other side's must rest on, besides."
    )
    insecure_plain: bool = Field(default=False, description="Whoever answers is it, without TLS or attestation.")
    insecure_ra_tls: bool = Field(default=False, description=_RA_TLS)
    connections: Connections = Field(default=256, description=_CONNECTIONS)
    idle: Duration = Field(default=_TEN_MINUTES, description=_IDLE)
    handshake: Handshake = Field(default=_TEN_SECONDS, description=_HANDSHAKE)
    reattest: Duration | None = Field(default=None, description=_REATTEST)

    @model_validator(mode="after")
    def _who_answers(self) -> Connect:
        if (self.policy is not None) == self.insecure_plain:
            raise _wrong("what must the other side be? expected a policy, or insecure_plain: true")
        if self.insecure_plain and (self.token is not None or self.authorities is not None):
            raise _wrong("insecure_plain: true shows no token and looks at no certificate: leave them out")
        if self.insecure_ra_tls:
            names = ("insecure_plain", "token", "authorities", "reattest")
            _refuse_beside_ra_tls([name for name in names if getattr(self, name)])
        return self


class Internet(Section):
    """One server of the Internet that the program may reach, by name and port."""

    name: HostName = Field(description="Of the server; the program finds it under this name.")
    port: Port = Field(default=443, description="Of the server.")
    tls: Literal["program", "gateway"] = Field(
        default="program",
        description="Who speaks TLS: the program, whose server name is looked at; or the gateway, for a program that "
        "does not, with the usual validation of certificates.",
    )
    guest: Port | None = Field(
        default=None, description="Port under which the program finds it; by default port, with tls: gateway 80."
    )
    authorities: Measured | None = Field(
        default=None, description=f"{_AUTHORITIES} to rest on instead of those the host trusts, with tls: gateway."
    )
    insecure_plain: bool = Field(default=False, description="No TLS: whoever is on the way reads and changes.")
    insecure_private: bool = Field(
        default=False, description="The name may lead to addresses that are not of the public Internet."
    )
    connections: Connections = Field(default=256, description=_CONNECTIONS)
    idle: Duration = Field(default=_TEN_MINUTES, description=_IDLE)
    handshake: Handshake = Field(default=30_000, description=_HANDSHAKE)

    @model_validator(mode="after")
    def _who_validates(self) -> Internet:
        if self.insecure_plain and self.tls == "gateway":
            raise _wrong("insecure_plain: true and tls: gateway: expected one of them")
        if self.authorities is not None and self.tls != "gateway":
            raise _wrong("authorities are looked at with tls: gateway only: the program brings its own")
        return self


class Network(Section):
    """By default an enclave has a loopback interface of its own, and nothing else."""

    listen: Annotated[list[Listen], Field(max_length=MAX_ENTRIES)] = Field(
        default=[], description="Addresses outside that lead in."
    )
    connect: Annotated[list[Connect], Field(max_length=MAX_ENTRIES)] = Field(
        default=[], description="Other enclaves that the program reaches."
    )
    internet: Annotated[list[Internet], Field(max_length=MAX_ENTRIES)] = Field(
        default=[], description="Servers of the Internet that the program reaches; no other name is known inside."
    )
    insecure_host: bool = Field(default=False, description="Share the host's network: neither isolated nor attested.")

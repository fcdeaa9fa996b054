"""What an enclave shall be: the seam between the loader, which decides it, and this house, which builds it.

Plain frozen values, no behaviour. Everything is resolved: absolute guest paths, bytes, milliseconds.
"""

from __future__ import annotations

from .values import Value

RA_TLS = "ra-tls"
ATTESTED = ("channel", RA_TLS)
"""How connections are secured that somebody proves something on."""


class HashedMount(Value):
    """A read-only tree whose every byte is pinned by an index (Annex B b).

    Attributes:
        path: where in the guest.
        source: the directory or file on the host that holds the content.
        index_path: file that holds the index.
        index_digest: 32 bytes, part of the measurement.
    """

    path: str
    source: str
    index_path: str
    index_digest: bytes


class HostMount(Value):
    """Untrusted exchange with the host: a bind mount, always nosuid and nodev.

    Attributes:
        path: where in the guest.
        source: directory or file on the host.
        writable: whether the guest may change it.
        executable: whether the guest may execute from it.
    """

    path: str
    source: str
    writable: bool
    executable: bool


class ScratchMount(Value):
    """A tmpfs that ends with the enclave.

    Attributes:
        path: where in the guest.
        size_bytes: limit of its content.
        mode: permission bits of its root.
        executable: whether the guest may execute from it.
    """

    path: str
    size_bytes: int
    mode: int
    executable: bool


class VolumeMount(Value):
    """An encrypted volume.

    Attributes:
        path: where in the guest.
        source: container on the host, or a folder that gives room to an ephemeral one.
        key: what opens it: "passphrase", "file", "sealed:POLICY" or "ephemeral".
        size_bytes: what it may hold, or None.
        executable: whether programs written there may be run.
    """

    path: str
    source: str
    key: str
    size_bytes: int | None
    executable: bool


class Limits(Value):
    """Resources the enclave may use; None means no limit of ours (5.1.3 f, 5.2.1.3 a).

    Attributes:
        memory_bytes: of all processes together, page cache of scratch mounts included.
        processes: processes and threads.
        open_files: descriptors per process.
        cpu_millis: thousandths of a CPU.
        run_time_ms: wall time, after which the enclave is ended.
    """

    memory_bytes: int | None
    processes: int
    open_files: int
    cpu_millis: int | None
    run_time_ms: int | None


class GuestUser(Value):
    """Whom the program runs as, in the guest's own numbers."""

    uid: int
    gid: int
    name: str
    home: str


class Identity(Value):
    """Who an enclave is beyond its measurement, and on what that rests.

    Attributes:
        platform: root of trust: "auto" for the strongest that is there, "soft", "tpm" or "tsm", or "none".
        signer: the signer id, 32 bytes; empty where nobody signed.
        product_id: the signer's number for the product.
        security_version: of the product.
        runtime_version: version of belljar.
    """

    platform: str
    signer: bytes
    product_id: int
    security_version: int
    runtime_version: str


NOBODY = Identity(platform="none", signer=b"", product_id=0, security_version=0, runtime_version="")
"""An enclave without attestation."""


class Traffic(Value):
    """How much of the gateway one entry of the manifest may take.

    Attributes:
        connections: at a time.
        idle_ms: without a byte in either direction, after which a connection is cut.
        handshake_ms: until both sides must be ready.
    """

    connections: int
    idle_ms: int
    handshake_ms: int


class Inward(Value):
    """Where the gateway listens outside, and what it leads to inside.

    Attributes:
        outside: "HOST:PORT" or "unix:/path" of the host; not measured.
        guest: "127.0.0.1:PORT" or "unix:/path" of the guest.
        security: "channel" for an attested channel, "ra-tls" for evidence in certificates and "plain" for none: both
            insecure.
        policy: text of the policy that clients must meet; empty: they need not attest.
        endorsements: files of the host that help to judge their evidence.
        tokens: file of the host with the digests of accepted tokens; empty: none is asked for.
        authorities: certificates that client certificates must rest on, PEM; empty: none is asked for.
        proxy_protocol: whether the guest is told who comes, by a PROXY protocol header.
        reattest_ms: how often clients must attest anew; 0 for never.
        traffic: limits.
    """

    outside: str
    guest: str
    security: str
    policy: str
    endorsements: tuple[str, ...]
    tokens: str
    authorities: str
    proxy_protocol: bool
    reattest_ms: int
    traffic: Traffic


class Outward(Value):
    """Where the gateway listens inside, and what it leads to outside.

    Attributes:
        guest: "127.x.y.z:PORT" or "unix:/path" of the guest.
        name: what the guest calls that address; empty if it has no name.
        outside: "HOST:PORT" or "unix:/path" of the host.
        security: "channel" for an attested channel, "tls" for TLS that the gateway ends, "guest-tls" for TLS of the
            guest's own, whose server name is looked at, "ra-tls" for evidence in certificates and "plain" for none:
            both insecure.
        policy: text of the policy that the other side must meet.
        endorsements: files of the host that help to judge its evidence.
        token: file of the host with a token to show, once the other side is believed; empty for none.
        authorities: certificates that a server's must rest on, PEM; empty for those the host trusts.
        private: whether `outside` may be an address that is not of the public Internet.
        reattest_ms: how often the other side must attest anew; 0 for never.
        traffic: limits.
    """

    guest: str
    name: str
    outside: str
    security: str
    policy: str
    endorsements: tuple[str, ...]
    token: str
    authorities: str
    private: bool
    reattest_ms: int
    traffic: Traffic


class EnclaveSpec(Value):
    """Everything an enclave is made from.

    Attributes:
        name: what people call it; also the guest's host name.
        measurement: 32 bytes, the identity of the enclave.
        executable: guest path of the program.
        argv: its arguments, the name of the program first.
        environment: exactly what it will find.
        working_directory: guest path.
        filters: seccomp programs (`struct sock_filter` arrays), in the order they are loaded.
        denied: (number, name) of system calls that the first filter hands over, to be refused and explained.
        host_network: share the host's network instead of having one of its own: insecure.
        enterable: whether other programs may be started in it from outside.
        stop_on_violation: end the enclave when a host file is not what was measured.
        identity: what evidence says of it.
        inward: connections from outside that the gateway takes.
        outward: connections to outside that it makes.
    """

    name: str
    measurement: bytes
    executable: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    working_directory: str
    user: GuestUser
    hashed: tuple[HashedMount, ...]
    host: tuple[HostMount, ...]
    scratch: tuple[ScratchMount, ...]
    volumes: tuple[VolumeMount, ...]
    limits: Limits
    filters: tuple[bytes, ...]
    denied: tuple[tuple[int, str], ...]
    host_network: bool
    enterable: bool
    stop_on_violation: bool
    identity: Identity = NOBODY
    inward: tuple[Inward, ...] = ()
    outward: tuple[Outward, ...] = ()


_KINDS = (EnclaveSpec, GuestUser, HashedMount, HostMount, Identity, Inward, Limits, Outward, ScratchMount, Traffic)
SPEC_KINDS: dict[str, type[Value]] = {kind.__name__: kind for kind in (*_KINDS, VolumeMount)}
"""The classes a specification is made of, for `of_plain`."""

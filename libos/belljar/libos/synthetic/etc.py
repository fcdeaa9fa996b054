"""The few files of /etc that describe the guest's world: who it is, what it is called, how names are looked up.

Pure: in comes an `EnclaveSpec`, out comes path -> content. They follow from the manifest, so they are measured with it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.libos.spec import EnclaveSpec, GuestUser

_NSSWITCH = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n"
_NO_NETWORK = "# this enclave has no network\n"
_GATEWAY = "nameserver 127.0.0.1\n"


def etc_files(spec: EnclaveSpec, *, resolv_conf: bytes) -> dict[str, bytes]:
    """Return the synthesized files.

    Args:
        spec: the enclave.
        resolv_conf: the host's resolver configuration, used with the host's network only.
    """
    name = spec.name
    hosts = f"127.0.0.1 localhost {name}\n::1 localhost ip6-localhost ip6-loopback\n"
    named = {outward.name: outward.guest.partition(":")[0] for outward in spec.outward if outward.name}
    hosts += "".join(f"{address} {called}\n" for called, address in named.items())
    unnamed = _GATEWAY if named else _NO_NETWORK
    return {
        "/etc/passwd": _passwd(spec.user).encode(),
        "/etc/group": _group(spec.user).encode(),
        "/etc/hostname": f"{name}\n".encode(),
        "/etc/hosts": hosts.encode(),
        "/etc/nsswitch.conf": _NSSWITCH.encode(),
        "/etc/resolv.conf": resolv_conf if spec.host_network else unnamed.encode(),
        # Stable for one measured program, different between programs, and nothing of the host's own.
        "/etc/machine-id": f"{spec.measurement.hex()[:32]}\n".encode(),
    }


def _passwd(user: GuestUser) -> str:
    rows = {"root": f"root:x:0:0:root:{user.home if user.uid == 0 else '/'}:/bin/sh"}
    rows[user.name] = f"{user.name}:x:{user.uid}:{user.gid}:{user.name}:{user.home}:/bin/sh"
    rows.setdefault("nobody", "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin")
    return "\n".join(rows.values()) + "\n"


def _group(user: GuestUser) -> str:
    rows = {0: "root:x:0:"}
    rows[user.gid] = f"{user.name}:x:{user.gid}:"
    rows.setdefault(65534, "nogroup:x:65534:")
    return "\n".join(rows.values()) + "\n"

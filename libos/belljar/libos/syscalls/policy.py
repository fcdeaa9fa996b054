"""The policy as a value: which calls are allowed, which are denied, which rules look at arguments.

In come the manifest's additions; out comes a `SyscallPolicy` that is measured (as its canonical description) and
compiled (in `compile.py`). Pure. Two filters make it up: guards, which deny some arguments of calls and let the rest
pass, and the allow list. The kernel runs both and takes the stricter verdict, so no order of rules can weaken either.
"""

from __future__ import annotations

from dataclasses import dataclass
from errno import EAFNOSUPPORT, ENOSYS, EPERM

from belljar.libos.errors import LibosError

from . import names

_LOW_32 = 0xFFFFFFFF  # the kernel reads these arguments as 32-bit values, whatever stands above

_TIOCSTI, _TIOCLINUX, _TIOCSETD = 0x5412, 0x541C, 0x5423
_CLONE_NAMESPACES = {
    "NEWTIME": 0x00000080,  # only clone3 and unshare take it; in clone's flags these bits are the exit signal
    "NEWNS": 0x00020000,
    "NEWCGROUP": 0x02000000,
    "NEWUTS": 0x04000000,
    "NEWIPC": 0x08000000,
    "NEWUSER": 0x10000000,
    "NEWPID": 0x20000000,
    "NEWNET": 0x40000000,
}
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_FAMILIES = (_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK)
_MAX_FAMILY = 64
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)  # Linux, 32-bit uname, UNAME26, both, "tell me"
_S_ISUID, _S_ISGID = 0o4000, 0o2000
_O_CREAT, _O_TMPFILE = 0o100, 0o20000000
_MODE_ARGUMENT = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "creat": 1, "mknod": 1, "mknodat": 2}
_OPEN_ARGUMENTS = {"open": (1, 2), "openat": (2, 3)}  # flags and mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """True if argument `index`, masked, equals `value`."""

    index: int
    mask: int
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A verdict on one system call, if all comparisons hold.

    Attributes:
        error: errno to return, or None to allow.
    """

    name: str
    error: int | None
    compare: tuple[Compare, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SyscallPolicy:
    """What a guest may ask of the kernel.

    Attributes:
        guards: rules that deny, looking at arguments; what matches none passes on.
        rules: rules that allow or deny; what matches none gets ENOSYS.
    """

    guards: tuple[Rule, ...]
    rules: tuple[Rule, ...]

    def rows(self) -> list[tuple[str, str, int | None, list[tuple[int, int, int]]]]:
        """Return the policy as plain rows, for the measurement: (section, call, errno, [(index, mask, value)])."""
        return [
            (section, rule.name, rule.error, [(c.index, c.mask, c.value) for c in rule.compare])
            for section, rules in (("guard", self.guards), ("rule", self.rules))
            for rule in rules
        ]


class UnknownSyscall(LibosError):
    """A manifest names a system call that nobody knows."""


def make_policy(*, allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> SyscallPolicy:
    """Return the default policy with a manifest's changes.

    Args:
        allow: system calls allowed beyond the default, with any arguments.
        deny: system calls refused with EPERM although the default allows them; wins over `allow`.
    """
    allowed = (set(names.split(names.ALLOWED)) | set(allow)) - set(deny)
    denied = (set(names.split(names.DENIED)) - set(allow)) | set(deny)
    ruled = tuple(rule for rule in _ruled() if rule.name not in deny and rule.name not in allow)
    guards = tuple(rule for rule in _guards() if rule.name not in allow)
    return SyscallPolicy(
        guards=guards,
        rules=(
            *(Rule(name=name, error=None) for name in sorted(allowed)),
            *ruled,
            *(Rule(name=name, error=EPERM) for name in sorted(denied)),
        ),
    )


def _ruled() -> list[Rule]:
    """Allow calls whose arguments decide, by naming the good arguments."""
    namespaces = 0
    for flag in _CLONE_NAMESPACES.values():
        namespaces |= flag
    namespaces &= ~0xFF  # clone's low byte is the exit signal
    rules = [Rule(name="clone", error=None, compare=(Compare(index=0, mask=namespaces, value=0),))]
    rules.append(Rule(name="ioctl", error=None))  # the bad ones are guarded: good ones cannot be listed
    rules += [
        Rule(name="personality", error=None, compare=(Compare(index=0, mask=_LOW_32, value=value),))
        for value in _PERSONALITIES
    ]
    rules += [
        Rule(name="socket", error=None, compare=(Compare(index=0, mask=_LOW_32, value=family),)) for family in _FAMILIES
    ]
    return rules


def _guards() -> list[Rule]:
    """Deny bad arguments, with the errno that programs expect."""
    guards = [
        Rule(name="ioctl", error=EPERM, compare=(Compare(index=1, mask=_LOW_32, value=request),))
        for request in (_TIOCSTI, _TIOCLINUX, _TIOCSETD)
    ]
    guards += [
        Rule(name="clone", error=EPERM, compare=(Compare(index=0, mask=flag, value=flag),))
        for flag in _CLONE_NAMESPACES.values()
        if flag > 0xFF
    ]
    guards += [
        Rule(name="socket", error=EAFNOSUPPORT, compare=(Compare(index=0, mask=_LOW_32, value=family),))
        for family in range(_MAX_FAMILY)
        if family not in _FAMILIES
    ]
    # Only routing and interfaces are asked by ordinary programs; other netlink families are kernel attack surface.
    guards += [
        Rule(
            name="socket",
            error=EAFNOSUPPORT,
            compare=(
                Compare(index=0, mask=_LOW_32, value=_AF_NETLINK),
                Compare(index=2, mask=bit, value=bit),
            ),
        )
        for bit in (1, 2, 4, 8, 16)  # any protocol but 0, NETLINK_ROUTE; the kernel knows 0 to 31
    ]
    return guards + _setuid_guards()


def _setuid_guards() -> list[Rule]:
    """Refuse to make files setuid or setgid: a host mount or a redirected stream may be the caller's own file."""
    rules: list[Rule] = []
    for bit in (_S_ISUID, _S_ISGID):
        for name, index in _MODE_ARGUMENT.items():
            rules.append(Rule(name=name, error=EPERM, compare=(Compare(index=index, mask=bit, value=bit),)))
        for name, (flags, mode) in _OPEN_ARGUMENTS.items():
            for creating in (_O_CREAT, _O_TMPFILE):
                compare = (
                    Compare(index=flags, mask=creating, value=creating),
                    Compare(index=mode, mask=bit, value=bit),
                )
                rules.append(Rule(name=name, error=EPERM, compare=compare))
    return rules


DEFAULT_ERROR = ENOSYS

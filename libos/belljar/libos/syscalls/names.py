"""The system calls a guest may make, by what they are for, and those it is told it may not.

Data, and the reasons. Names are libseccomp's; a name that an architecture does not have is skipped there. What is in
neither table gets ENOSYS, so that the C library falls back; what is denied gets EPERM, so that a program can say so.
Derived from strace of CPython's own programs and from the profiles of Docker and systemd, then cut down.
"""

from __future__ import annotations

ALLOWED: dict[str, str] = {
    "files": """
        access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
        fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock
        fremovexattr fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr getxattrat
        lchown lgetxattr link linkat listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat
        mknod mknodat newfstatat open openat pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink
        readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir sendfile setxattr setxattrat splice
        stat statfs statx symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat utime
        utimensat utimes write writev cachestat
    """,
    "waiting": """
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
        eventfd2 inotify_add_watch inotify_init inotify_init1 inotify_rm_watch pipe pipe2 poll ppoll pselect6 select
        signalfd signalfd4 timerfd_create timerfd_gettime timerfd_settime
    """,
    "memory": """
        brk get_mempolicy madvise map_shadow_stack mbind membarrier memfd_create mincore mlock mlock2 mlockall mmap
        mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages
        set_mempolicy set_mempolicy_home_node
    """,
    "processes": """
        arch_prctl capget capset execve execveat exit exit_group fork getcpu getegid geteuid getgid getgroups getpgid
        getpgrp getpid getppid getpriority getresgid getresuid getrlimit getrusage getsid gettid getuid ioprio_get
        ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self pause pidfd_open
        pidfd_send_signal prctl prlimit64 restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask
        rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max
        sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
        sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_robust_list
        get_robust_list set_tid_address setfsgid setfsuid setgid setgroups setpgid setpriority setregid setresgid
        setresuid setreuid setrlimit setsid setuid sigaltstack sysinfo tgkill times tkill uname vfork wait4 waitid
    """,
    "time": """
        alarm clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep setitimer time timer_create
        timer_delete timer_getoverrun timer_gettime timer_settime
    """,
    "synchronization and local communication": """
        futex futex_requeue futex_wait futex_waitv futex_wake getrandom mq_getsetattr mq_notify mq_open
        mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl
        shmdt shmget
    """,
    "network": """
        accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg
        sendmsg sendto setsockopt shutdown socketpair
    """,
}
"""Allowed whatever the arguments, unless a rule of `policy.py` says otherwise."""

RULED = ("clone", "ioctl", "personality", "socket")
"""Allowed with some arguments only; the rules stand in `policy.py`."""

DENIED: dict[str, str] = {
    "mounts and roots": """
        chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree open_tree_attr pivot_root
        quotactl quotactl_fd swapoff swapon umount umount2 statmount listmount
    """,
    "namespaces": "setns unshare",
    "other processes' memory and descriptors": """
        kcmp migrate_pages move_pages pidfd_getfd process_madvise process_mrelease process_vm_readv process_vm_writev
        ptrace
    """,
    "files by handle, past every path check": "name_to_handle_at open_by_handle_at",
    "kernel programs, modules and debugging": """
        bpf create_module delete_module finit_module init_module kexec_file_load kexec_load lookup_dcookie
        perf_event_open query_module fanotify_init fanotify_mark acct syslog
    """,
    "keyrings, which no namespace divides": "add_key keyctl request_key",
    "the machine": """
        adjtimex clock_adjtime clock_settime ioperm iopl modify_ldt reboot setdomainname sethostname settimeofday
        vhangup nfsservctl stime
    """,
    "page tricks that kernel exploits are built from": "userfaultfd vmsplice",
}
"""Refused with EPERM. Everything else that is not allowed, io_uring and clone3 among it, gets ENOSYS."""


def split(table: dict[str, str]) -> list[str]:
    """Return all names of a table, sorted."""
    return sorted(name for names in table.values() for name in names.split())

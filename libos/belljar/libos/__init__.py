"""The guest's operating system: namespaces, mounts, system calls, processes, terminal, limits.

Other houses enter by four doors: `belljar.libos.enclave` (hot: say what an enclave shall be, run it), and the cold ones
`belljar.libos.policy` (the system call policy and its compiled filter), `belljar.libos.probing` (ask a program of the
host) and `belljar.libos.examining` (what this machine offers).
"""

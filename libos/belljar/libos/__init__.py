"""The guest's operating system: namespaces, mounts, system calls, processes, terminal, limits.

Other houses enter by two doors: `belljar.libos.enclave` (hot: say what an enclave shall be, run it) and
`belljar.libos.policy` (cold: the system call policy and its compiled filter).
"""

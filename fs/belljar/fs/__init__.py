"""The file systems of an enclave: the FUSE protocol, the hashed tree, generated files.

Other houses enter by two doors only: `belljar.fs.measuring` (cold: walk, hash, write an index) and `belljar.fs.serving`
(hot: open an index, serve it to a kernel). This house knows nothing of attestation, sandboxes or manifests.
"""

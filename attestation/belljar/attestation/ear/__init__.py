"""EAR: the verdict as others read it, and theirs as we do (draft-ietf-rats-ear), with the JWTs that carry it."""

"""Intel SGX and TDX quotes: parsed, verified up to Intel's root, and judged by Intel's TCB collateral (DCAP)."""

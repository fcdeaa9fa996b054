"""The commands of `belljar policy` and `belljar verifier` as a table; `families.py` finds the right one."""

from __future__ import annotations

from belljar.loader.options import JSON, Command, Option

_ROOM = "belljar.loader.commands.attestation"

COMMANDS = (
    Command(
        name="policy from",
        usage="[OPTIONS] (BUNDLE.bell | MANIFEST.yaml | VALUES.corim)…",
        help="write a policy that takes these builds and nothing else, or their reference values as CoRIM",
        options=(
            Option(name="root", value="FILE", many=True, help="a root to pin: belljar platform root -o FILE"),
            Option(name="allow-simulated", help="take evidence without hardware behind it"),
            Option(name="upgrades", help="take later versions of the same signer and product, too"),
            Option(name="purpose", value="NAME", many=True, help="what evidence must be for: local, by default"),
            Option(name="instance", value="HEX", many=True, help="take this run alone: belljar attest prints it"),
            Option(name="pcr", value="BANK:N=HEX", many=True, help="what a TPM must quote: sha256:8=…"),
            Option(name="insecure-skip-pcrs", help="take whatever state a TPM's machine has booted into"),
            Option(name="id", value="NAME", help="what results call the policy"),
            Option(name="corim", help="write reference values as CoRIM instead"),
            Option(name="output", short="o", value="FILE", help="where to write; by default the policy is printed"),
        ),
        run=f"{_ROOM}.policy_from",
        example="belljar policy from app.bell --root root.pem --allow-simulated -o policy.yaml",
    ),
    Command(
        name="policy check",
        usage="[OPTIONS] POLICY.yaml…",
        help="say whether policies can be used, and what they accept",
        options=(JSON,),
        run=f"{_ROOM}.policy_check",
        example="belljar policy check policy.yaml",
    ),
    Command(
        name="verifier serve",
        usage="[OPTIONS]",
        help="appraise evidence for others: challenge, evidence, signed result",
        options=(
            Option(name="key", value="KEY.pem", help="the private key that signs results: belljar keygen"),
            Option(name="dir", value="FOLDER", help="where policies and reference values are kept"),
            Option(name="tokens", value="FILE", help="who may do more than attest: belljar verifier token"),
            Option(name="listen", value="ADDRESS:PORT", help="where to listen: 127.0.0.1:8470"),
            Option(name="tls-cert", value="FILE", help="certificate chain in PEM, for HTTPS"),
            Option(name="tls-key", value="FILE", help="its private key in PEM"),
            Option(name="insecure-plain", help="serve HTTP without TLS to other machines"),
        ),
        run=f"{_ROOM}.serving",
        example="belljar verifier serve --key verifier.pem --dir policies --tokens tokens",
    ),
    Command(
        name="verifier token",
        usage="[OPTIONS] (admin | relying) NAME",
        help="make a bearer token; print it once, and add its hash to a file",
        options=(Option(name="tokens", value="FILE", help="the file of hashes to add to"),),
        run=f"{_ROOM}.token",
        example="belljar verifier token admin alice --tokens tokens",
    ),
)

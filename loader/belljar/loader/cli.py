"""The command line: which command, with what options; the only place that exits.

Hot: `belljar run` comes through here on its way to the first byte of the guest.
"""

from __future__ import annotations

import io
import os
import sys

from . import report
from .errors import LoaderError, UsageError
from .options import JSON, Command, Option, command_help, overview, parse
from .version import VERSION

_SIGNER = Option(name="signer", value="SIGNER", help="refuse a bundle of anybody else: sha256:… or a key file")
_OUTPUT = Option(name="output", short="o", value="FILE", help="where to write")
_POLICY = Option(name="policy", value="FILE", help="what to accept; without it nothing is decided")
_CLASSICAL = Option(name="insecure-classical-group", help="take a key exchange that quantum computers break")
_APPRAISING = (
    Option(name="endorsements", value="FILE", many=True, help="certificates, revocation lists, collateral"),
    Option(name="ear", value="FILE", help="write the signed result: a JWT, or a CWT if FILE ends in .cwt"),
    Option(name="key", value="KEY.pem", help="the private key that signs the result"),
    JSON,
)  # fmt: skip

COMMANDS = (
    Command(
        name="run",
        usage="[OPTIONS] (-- COMMAND… | SCRIPT.py … | (APP.yaml | APP.bell) [-- ARGUMENTS…])",
        help="run a program in an enclave",
        options=(
            Option(name="verbose", short="v", help="say what is measured and how the run ended, on stderr"),
            Option(name="name", value="NAME", help="call the run so; by default it has the enclave's name"),
            Option(name="detach", short="d", help="run in the background: belljar logs, ps, stop, wait"),
            Option(name="result", value="DESCRIPTOR", help="write how the run ended to an open descriptor, as JSON"),
            Option(name="explain", help="print the derived manifest instead of running"),
            Option(name="dry-run", help="print every step instead of taking it"),
            Option(name="fresh", help="look at every file again, whatever is remembered"),
            Option(name="listen", value="GUEST=ADDRESS", many=True, help="lead ADDRESS outside to GUEST inside"),
            _SIGNER,
        ),
        run="belljar.loader.resident.client",
        greedy=True,
        example='belljar run -- python3 -c "print(6*7)"',
    ),
    Command(
        name="serve",
        usage="[OPTIONS]",
        help="keep enclaves ready, so that run costs little more than its program",
        options=(
            Option(name="detach", short="d", help="in the background"),
            Option(name="spares", value="NUMBER", help="how many enclaves stand ready, at most: 4"),
            Option(name="idle", value="SECONDS", help="end when nobody has run anything for so long"),
            Option(name="status", help="say what it is doing"),
            Option(name="stop", help="end it; what runs, goes on"),
            JSON,
        ),
        run="belljar.loader.commands.serve",
        example="belljar serve --detach",
    ),
    Command(
        name="ps",
        usage="[OPTIONS]",
        help="list running enclaves",
        options=(JSON, Option(name="all", short="a", help="also those that have ended and are remembered")),
        run="belljar.loader.commands.runs.ps",
        example="belljar ps --all",
    ),
    Command(
        name="stop",
        usage="[OPTIONS] RUN…",
        help="end enclaves: ask their programs to, then by force",
        options=(Option(name="time", short="t", value="SECONDS", help="how long a program has to end by itself: 10"),),
        run="belljar.loader.commands.runs.stop",
        example="belljar stop web",
    ),
    Command(
        name="logs",
        usage="[OPTIONS] RUN",
        help="print what a detached program wrote",
        options=(Option(name="follow", short="f", help="go on until it ends"),),
        run="belljar.loader.commands.runs.logs",
        example="belljar logs --follow web",
    ),
    Command(
        name="stats",
        usage="[OPTIONS] [RUN…]",
        help="print what enclaves use: memory, CPU time, processes",
        options=(JSON,),
        run="belljar.loader.commands.runs.stats",
        example="belljar stats",
    ),
    Command(
        name="exec",
        usage="[OPTIONS] RUN -- COMMAND…",
        help="start another program in a running enclave, if its manifest lets you",
        options=(),
        run="belljar.loader.commands.runs.join",
        greedy=True,
        example="belljar exec web -- python3 -c 'print(1)'",
    ),
    Command(
        name="wait",
        usage="RUN",
        help="wait until an enclave has ended, and exit as its program did",
        options=(),
        run="belljar.loader.commands.runs.wait",
        example="belljar wait web",
    ),
    Command(
        name="explain",
        usage="[OPTIONS] RUN",
        help="say what a run was refused, and the manifest lines that would allow it",
        options=(JSON,),
        run="belljar.loader.commands.runs.explain",
        example="belljar explain web",
    ),
    Command(
        name="measure",
        usage="[OPTIONS] (MANIFEST.yaml | BUNDLE.bell | SCRIPT.py | -- COMMAND…)",
        help="print the measurement, the identity of the enclave",
        options=(
            JSON,
            Option(name="canonical", help="print the canonical manifest: the bytes whose SHA-256 is the measurement"),
        ),
        run="belljar.loader.commands.measure",
        greedy=True,
        example="belljar measure app.yaml",
    ),
    Command(
        name="check",
        usage="[OPTIONS] (MANIFEST.yaml | BUNDLE.bell)…",
        help="check manifests for mistakes and risks, bundles for files that changed",
        options=(
            JSON,
            Option(name="against", value="BUNDLE.bell", help="also name what changed since this bundle was built"),
        ),
        run="belljar.loader.commands.check",
        example="belljar check app.yaml",
    ),
    Command(
        name="build",
        usage="[OPTIONS] MANIFEST.yaml",
        help="measure a manifest and write a bundle: one file that runs as this enclave or not at all",
        options=(_OUTPUT, Option(name="key", value="KEY.pem", help="sign it with this private key"), JSON),
        run="belljar.loader.commands.bundles.build",
        example="belljar build app.yaml -o app.bell --key signer.pem",
    ),
    Command(
        name="keygen",
        usage="[OPTIONS]",
        help="make a key that signs bundles, and print the signer id it stands for",
        options=(
            _OUTPUT,
            Option(name="algorithm", value="NAME", help="ed25519 (the default), es256, es384 or ml-dsa-65"),
        ),
        run="belljar.loader.commands.bundles.keygen",
        example="belljar keygen -o signer.pem",
    ),
    Command(
        name="verify",
        usage="[OPTIONS] BUNDLE.bell",
        help="say whether a bundle holds, and who signed it",
        options=(_SIGNER, JSON),
        run="belljar.loader.commands.bundles.verify",
        example="belljar verify app.bell --signer signer.pub.pem",
    ),
    Command(
        name="inspect",
        usage="[OPTIONS] BUNDLE.bell",
        help="show what is in a bundle",
        options=(JSON, Option(name="canonical", help="print the canonical manifest, as belljar measure does")),
        run="belljar.loader.commands.bundles.inspect",
        example="belljar inspect app.bell",
    ),
    Command(
        name="diff",
        usage="[OPTIONS] (BUNDLE.bell | MANIFEST.yaml) (BUNDLE.bell | MANIFEST.yaml)",
        help="say which keys, files and signer make two enclaves differ",
        options=(JSON,),
        run="belljar.loader.commands.bundles.diff",
        example="belljar diff old.bell new.bell",
    ),
    Command(
        name="volume",
        usage="COMMAND …",
        help="make encrypted volumes, look into them, back them up: belljar volume help",
        options=(),
        run="belljar.loader.commands.volumes.command",
        greedy=True,
        example="belljar volume create state.vol",
    ),
    Command(
        name="platform",
        usage="[OPTIONS] (init | show | root | rotate)",
        help="make, show, hand out or renew this machine's root of trust, on which identity and sealed keys rest",
        options=(
            Option(name="platform", value="KIND", help="soft, tpm or tsm; by default what is there; init makes soft"),
            Option(name="dir", value="FOLDER", help="where it is kept"),
            Option(name="tpm", value="ADDRESS", help="/dev/tpmrm0 (the default), unix:/path or tcp:host:port"),
            Option(name="algorithm", value="NAME", help="ed25519 (the default), es256, es384 or ml-dsa-65"),
            Option(name="output", short="o", value="FILE", help="root: where to write the certificate"),
            JSON,
        ),
        run="belljar.loader.commands.platform.command",
        example="belljar platform init",
    ),
    Command(
        name="attest",
        usage="[OPTIONS] (RUN | HOST:PORT | unix:PATH)",
        help="ask an enclave for evidence, here or elsewhere, and appraise it",
        options=(
            _POLICY,
            Option(name="nonce", value="HEX", help="the challenge, 8 to 64 bytes; by default 32 fresh random ones"),
            Option(name="output", short="o", value="FILE", help="also write the evidence to a file"),
            *_APPRAISING,
            _CLASSICAL,
        ),
        run="belljar.loader.commands.attestation.attest",
        example="belljar attest web --policy policy.yaml",
    ),
    Command(
        name="connect",
        usage="[OPTIONS] (HOST:PORT | unix:PATH)",
        help="carry local connections to an enclave that the policy accepts, each in an attested channel",
        options=(
            Option(name="policy", value="FILE", help="what the server must be"),
            Option(name="listen", value="ADDRESS", help="where programs connect to: 127.0.0.1:9000, unix:/path"),
            Option(name="token-file", value="FILE", help="a token for servers that ask for one"),
            Option(name="certificate", value="FILE", help="a certificate for servers that ask for one (PEM chain)"),
            Option(name="key", value="KEY.pem", help="its private key"),
            Option(name="authority", value="FILE", help="who must have issued the server's certificate (PEM)"),
            Option(name="instance", value="HEX", many=True, help="which run it must be; may be repeated"),
            Option(name="endorsements", value="FILE", many=True, help="certificates, revocation lists, collateral"),
            Option(name="reattest", value="SECONDS", help="how often the server must attest anew: never"),
            Option(name="timeout", value="SECONDS", help="how long it may take to prove itself: 10"),
            Option(name="once", help="end with the first connection"),
            Option(name="insecure-listen", help="let other machines use the local address"),
            Option(name="insecure-ra-tls", help="speak plain TLS to servers with evidence in their certificates only"),
            Option(name="insecure-unattested", help="take a server without evidence: anybody's, who may read along"),
            _CLASSICAL,
        ),
        run="belljar.loader.commands.channels.connect",
        example="belljar connect enclave.example:8443 --listen 127.0.0.1:9000 --policy policy.yaml",
    ),
    Command(
        name="verify-evidence",
        usage="[OPTIONS] FILE",
        help="appraise evidence in a file: say what was compared, found and expected, and decide by a policy",
        options=(
            _POLICY,
            Option(name="nonce", value="HEX", help="the challenge that was asked, 8 to 64 bytes"),
            Option(name="report-data", value="HEX", help="what it must bind, 64 bytes"),
            Option(name="at", value="TIME", help="judge as of then: 2026-01-31T00:00:00Z, or seconds since 1970"),
            *_APPRAISING,
        ),
        run="belljar.loader.commands.attestation.verify_evidence",
        example="belljar verify-evidence web.evidence --policy policy.yaml --nonce 00112233445566778899aabbccddeeff",
    ),
    Command(
        name="policy",
        usage="COMMAND …",
        help="write and check appraisal policies: belljar policy help",
        options=(),
        run="belljar.loader.commands.attestation.policy",
        greedy=True,
        example="belljar policy from app.bell --root root.pem --allow-simulated -o policy.yaml",
    ),
    Command(
        name="verifier",
        usage="COMMAND …",
        help="appraise evidence for others over HTTP: belljar verifier help",
        options=(),
        run="belljar.loader.commands.attestation.verifier",
        greedy=True,
        example="belljar verifier serve --key verifier.pem --dir policies",
    ),
    Command(
        name="doctor",
        usage="[OPTIONS]",
        help="say what this machine offers, what it lacks, what that costs, and the remedy",
        options=(JSON,),
        run="belljar.loader.commands.doctor",
        example="belljar doctor",
    ),
    Command(
        name="schema",
        usage="",
        help="print the JSON Schema of manifests, for editors",
        options=(),
        run="belljar.loader.commands.schema",
        example="belljar schema > manifest.schema.json",
    ),
)

_BROKEN_PIPE = 141  # 128 + SIGPIPE, as a shell shows it
_USAGE_EXIT = 2  # what argparse and getopt programs exit with; `run` uses 125, since 2 could be the guest's


def console() -> None:
    """Be the console script. Ends without taking the interpreter apart, which nobody needs any more (3 ms)."""
    _open_streams()
    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # who read our output has gone
        code = code or _BROKEN_PIPE
    except OSError as error:
        report.error(f"cannot write the output: {error.strerror}")
        code = code or LoaderError.exit_code
    os._exit(code)


def _open_streams() -> None:
    """Have three standard streams that take any text: what the caller has closed leads nowhere."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free: this one
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main(words: list[str]) -> int:
    """Run one command line and return its exit code."""
    if not words or words[0] in ("--help", "-h", "help"):
        return _say(overview(COMMANDS), 0 if words else _USAGE_EXIT)
    if words[0] in ("--version", "version"):
        return _say(f"belljar {VERSION}\n")
    command = next((command for command in COMMANDS if command.name == words[0]), None)
    if command is None:
        report.error(f"unknown command {words[0]}", _hint(words[0]))
        return _USAGE_EXIT
    return _run(command, words[1:])


def _say(text: str, code: int = 0) -> int:
    sys.stdout.write(text)
    return code


def _hint(word: str) -> str:
    if word.endswith((".py", ".yaml", ".yml")):
        return f"belljar run {word}"
    if word.startswith("-"):
        return "options stand behind the command: belljar run -v …"
    from difflib import get_close_matches

    known = [command.name for command in COMMANDS]
    close = get_close_matches(word, known, 1, 0.6)
    return f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}; belljar --help says more"


def _run(command: Command, words: list[str]) -> int:
    try:
        return _take(command, words)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _BROKEN_PIPE
    except SystemExit as ended:  # another process of ours failed, and said why
        return int(ended.code or 0)
    except OSError as error:
        what = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        report.error(f"{what}{error.strerror or error}")
    except Exception as failure:
        if os.environ.get("BELLJAR_TRACEBACK"):
            raise
        report.error(
            f"unexpected {type(failure).__name__}: {failure}",
            "this is a defect of belljar: please report it, with what BELLJAR_TRACEBACK=1 shows",
        )
    return LoaderError.exit_code


def _take(command: Command, words: list[str]) -> int:
    try:
        parsed = parse(command, words)
        if parsed.has("help"):
            return _say(command_help(command))
        module = __import__(command.run, fromlist=["main"])
        return int(module.main(parsed))
    except UsageError as error:
        report.error(str(error), error.hint)
        return error.exit_code if command.name == "run" else _USAGE_EXIT
    except LoaderError as error:
        report.error(str(error), error.hint)
        return error.exit_code


if __name__ == "__main__":
    console()

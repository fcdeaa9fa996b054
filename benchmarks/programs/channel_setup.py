"""Set up channels within one process, over loopback: prints the median of each kind in milliseconds, as JSON."""

import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time

from cryptography import x509

from belljar.attestation.attesting import Enclave, Purpose, Run, Task, attest
from belljar.attestation.channel import Endpoint, Listener, Role, Terms, appraises_by, attests_with, connect
from belljar.attestation.platforms import Birth, key_digest, make_soft
from belljar.attestation.verifier import Draft, ReferenceValues, Tee, load_policy, policy_text

TIMES = int(sys.argv[1])
ENCLAVE = Enclave(measurement=b"m" * 32, signer=b"s" * 32, product_id=1, svn=1, debug=False)


def terms_of(root):
    """Return what makes evidence on a platform, and what judges it."""
    task = Task(argv=b"a" * 32, environment=b"e" * 32)
    run = Run(
        enclave=ENCLAVE, instance=os.urandom(16), runtime="belljar", runtime_version="1", kernel="Linux", task=task
    )
    pin = key_digest(x509.load_der_x509_certificate(root.chain[-1]).public_key())
    values = ReferenceValues(name="bench", measurement=b"m" * 32, signer=b"s" * 32, product_id=1, svn=1)
    draft = Draft(
        identifier="bench", values=(values,), roots={Tee.SOFT: (pin,)}, purposes=(Purpose.CHANNEL,), pcrs=None,
        volumes=False, upgrades=False, allow_simulated=True,
    )  # fmt: skip
    return attests_with(attest(root, run)), appraises_by(load_policy(policy_text(draft)))


def measured(client, server):
    """Return how long one set up takes, in milliseconds."""
    listening = socket.create_server(("127.0.0.1", 0))
    listener = Listener(listening, Endpoint(Role.SERVER, server), lambda channel: channel.recv(1))
    thread = threading.Thread(target=listener.serve)
    thread.start()
    endpoint = Endpoint(Role.CLIENT, client)
    address, found = listening.getsockname(), []
    for _ in range(TIMES):
        started = time.perf_counter()
        channel = connect(address, endpoint=endpoint)
        found.append((time.perf_counter() - started) * 1000)
        channel.close()
    listener.stop()
    thread.join()
    return statistics.median(found)


with tempfile.TemporaryDirectory() as folder, make_soft(folder, Birth(random=os.urandom, now=int(time.time()))) as root:
    attests, appraises = terms_of(root)
    plain = Terms(insecure_unattested=True)
    kinds = {
        "set up: mutual": (Terms(attests=attests, appraises=appraises), Terms(attests=attests, appraises=appraises)),
        "set up: the server attests": (Terms(appraises=appraises), Terms(attests=attests)),
        "set up: nobody attests": (plain, plain),
    }
    print(json.dumps({name: measured(*terms) for name, terms in kinds.items()}))

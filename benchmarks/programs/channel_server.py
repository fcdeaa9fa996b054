"""The library's server for `channel`: a soft enclave whose channels lead to a port; prints its own, writes a policy."""

import asyncio
import os
import sys
import time

from cryptography import x509

from belljar.attestation.attesting import Enclave, Purpose, Run, Task, attest
from belljar.attestation.channel import Endpoint, Role, Terms, attests_with, create_server
from belljar.attestation.platforms import Birth, key_digest, make_soft
from belljar.attestation.verifier import Draft, ReferenceValues, Tee, policy_text
from belljar.loader.commands.channels.relay import Half, Local, tie

BACKEND, FOLDER = int(sys.argv[1]), sys.argv[2]
ENCLAVE = Enclave(measurement=b"m" * 32, signer=b"s" * 32, product_id=1, svn=1, debug=False)
TASK = Task(argv=b"a" * 32, environment=b"e" * 32)


def write_policy(root):
    """Write the policy that takes this enclave, and no other."""
    pin = key_digest(x509.load_der_x509_certificate(root.chain[-1]).public_key())
    values = ReferenceValues(name="bench", measurement=b"m" * 32, signer=b"s" * 32, product_id=1, svn=1)
    draft = Draft(
        identifier="bench", values=(values,), roots={Tee.SOFT: (pin,)}, purposes=(Purpose.CHANNEL,), pcrs=None,
        volumes=False, upgrades=False, allow_simulated=True,
    )  # fmt: skip
    with open(f"{FOLDER}/policy.yaml", "w") as file:
        file.write(policy_text(draft))


class Inward(Half):
    """A channel that leads to the port behind."""

    def connection_made(self, transport):
        """Connect to it."""
        super().connection_made(transport)
        self.task = asyncio.get_running_loop().create_task(self.lead_on())

    async def lead_on(self):
        """Tie both ends together."""
        _, behind = await asyncio.get_running_loop().create_connection(Local, "127.0.0.1", BACKEND)
        tie(self, behind)


async def main(root):
    """Serve until killed."""
    run = Run(
        enclave=ENCLAVE, instance=os.urandom(16), runtime="belljar", runtime_version="1", kernel="Linux", task=TASK
    )
    endpoint = Endpoint(Role.SERVER, Terms(attests=attests_with(attest(root, run))))
    server = await create_server(Inward, ("127.0.0.1", 0), endpoint)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


os.makedirs(f"{FOLDER}/platform", mode=0o700)
with make_soft(f"{FOLDER}/platform", Birth(random=os.urandom, now=int(time.time()))) as platform:
    write_policy(platform)
    asyncio.run(main(platform))

"""The service itself: one question in, one answer out, whatever carries them (docs/formats/verifier-api.md).

    POST /v1/challenges                a fresh nonce
    POST /v1/appraisals                evidence in, verdict and signed result out
    GET  /v1/key                       the key that signs results
    GET  /v1/policies                  names                                     admin
    GET|PUT|DELETE /v1/policies/NAME                                             admin
    GET  /v1/reference-values          names                                     admin
    GET|PUT|DELETE /v1/reference-values/NAME                                     admin

Passport: the attester asks for the challenge, brings the evidence, and carries the result away. Background check: the
relying party brings evidence it was given, with a nonce of its own if it has a token for that. A nonce is used up
before anything is verified, so no evidence gets a second try. May be used from several threads.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.ear.writing import Issue, ear_cwt, ear_jwt
from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.verifier import Challenge, Message, verify

from .access import Access, Role
from .answers import (
    Answer,
    NotAllowed,
    NotThere,
    Question,
    ServiceRefused,
    as_json,
    refusal,
)
from .asked import Asked, read_asked
from .shelf import POLICY, VALUES, Shelf

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.attestation.appraisal.verdict import Appraisal
    from belljar.attestation.keys import SigningKey

    from .challenges import Challenges

_KINDS = {"policies": POLICY, "reference-values": VALUES}
_MEDIA_TYPES = {POLICY: "application/yaml", VALUES: "application/rim+cbor"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A verifier for others.

    Attributes:
        key: signs results.
        issue: how results are issued.
        shelf: policies and reference values.
        access: who may do more than attest.
        challenges: nonces.
        clock: seconds since 1970.
    """

    key: SigningKey
    issue: Issue
    shelf: Shelf
    access: Access
    challenges: Challenges
    clock: Callable[[], int]

    def answer(self, question: Question) -> Answer:
        """Return the answer to a question; what cannot be served is an answer, too."""
        try:
            return self._answer(question)
        except ServiceRefused as error:
            return refusal(error.status, str(error), error.hint)

    def _answer(self, question: Question) -> Answer:
        match question.path.split("/")[1:]:
            case ["v1", "challenges"]:
                return self._only("POST", question, self._challenge)
            case ["v1", "appraisals"]:
                return self._only("POST", question, self._appraisal)
            case ["v1", "key"]:
                return self._only("GET", question, self._key)
            case ["v1", ("policies" | "reference-values") as kind]:
                return self._only("GET", question, lambda question: self._names(_KINDS[kind], question))
            case ["v1", ("policies" | "reference-values") as kind, name]:
                return self._kept(_KINDS[kind], name, question)
            case _:
                raise NotThere("there is no such path")

    def _only(self, method: str, question: Question, act: Callable[[Question], Answer]) -> Answer:
        if question.method != method:
            raise NotAllowed(f"{question.path}: got {question.method}, expected {method}")
        return act(question)

    def _challenge(self, question: Question) -> Answer:
        del question
        nonce, expires = self.challenges.issue(self.clock())
        return as_json(201, {"nonce": nonce.hex(), "expires_at": expires})

    def _key(self, question: Question) -> Answer:
        del question
        public = self.key.public
        return as_json(200, {"pem": public.pem().decode(), "signer": f"sha256:{public.signer.hex()}"})

    def _appraisal(self, question: Question) -> Answer:
        asked = read_asked(question.body)
        now = self.clock()
        policy = self.shelf.policy(asked.policy)
        if asked.own_nonce:
            self.access.require(question.token, Role.RELYING)
        else:
            self.challenges.redeem(asked.nonce, now)
        try:
            appraisal = verify(
                Message(content=asked.evidence, media_type=asked.media_type),
                endorsements=asked.endorsements,
                policy=policy,
                challenge=Challenge(nonce=asked.nonce, report_data=asked.report_data),
                now=now,
            )
        except EvidenceRefused as error:
            return as_json(200, _not_believed(error))
        return as_json(200, self._verdict(appraisal, asked))

    def _verdict(self, appraisal: Appraisal, asked: Asked) -> dict[str, object]:
        if asked.form == "cwt":
            result = base64.b64encode(ear_cwt(appraisal, self.key, self.issue)).decode()
        else:
            result = ear_jwt(appraisal, self.key, self.issue)
        verdict = "accepted" if appraisal.accepted else "refused"
        failed = [step.name for step in appraisal.failed]
        return {"verdict": verdict, "form": asked.form, "ear": result, "failed": failed, "appraisal": appraisal.plain()}

    def _names(self, kind: str, question: Question) -> Answer:
        self.access.require(question.token, Role.ADMIN)
        return as_json(200, {"names": self.shelf.names(kind)})

    def _kept(self, kind: str, name: str, question: Question) -> Answer:
        self.access.require(question.token, Role.ADMIN)
        match question.method:
            case "GET":
                return Answer(status=200, body=self.shelf.read(kind, name), media_type=_MEDIA_TYPES[kind])
            case "PUT":
                return as_json(201 if self.shelf.put(kind, name, question.body) else 200, {"name": name})
            case "DELETE":
                self.shelf.delete(kind, name)
                return Answer(status=204)
            case _:
                raise NotAllowed(f"{question.path}: got {question.method}, expected GET, PUT or DELETE")


def _not_believed(error: EvidenceRefused) -> dict[str, object]:
    failed = [step.name for step in error.steps if not step.passed]
    return {"verdict": "not believed", "error": str(error), "failed": failed}

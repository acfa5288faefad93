"""A phone in Python: it signs what docs/protocol.md says that devices sign, and nothing of the server's code made it.

To add an artefact: a method that signs its claims. Keys live as long as the object.
"""

import base64
import hashlib
import json
import time
from uuid import uuid4

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from checks import b64u


class Phone:
    """One key, and what it can say once it is registered."""

    def __init__(self, issuer: str) -> None:
        self.issuer, self.key, self.id = issuer, ec.generate_private_key(ec.SECP256R1()), ""
        numbers = self.key.public_key().public_numbers()
        self.jwk = {"kty": "EC", "crv": "P-256", "x": b64u(numbers.x.to_bytes(32)), "y": b64u(numbers.y.to_bytes(32))}
        spelled = json.dumps(self.jwk, sort_keys=True, separators=(",", ":"))
        self.kid = b64u(hashlib.sha256(spelled.encode()).digest())

    def sign(self, kind: str, claims: dict, with_key: bool = False) -> str:
        header = {"alg": "ES256", "typ": f"countersign-{kind}+jwt"}
        header |= {"jwk": self.jwk} if with_key else {"kid": self.kid}
        claims = {"aud": self.issuer, "iat": int(time.time())} | claims
        signed = ".".join(b64u(json.dumps(part).encode()) for part in (header, claims))
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{b64u(r.to_bytes(32) + s.to_bytes(32))}"

    def registration(self, ticket: str) -> str:
        device = {"name": "Phone", "platform": "ios", "installation_id": "one"}
        claims = {"jti": str(uuid4()), "ticket": ticket, "device": device, "push": {"channel": "none"}}
        return self.sign("registration", claims, with_key=True)

    def _says(self, kind: str, **claims: str) -> str:
        return self.sign(kind, {"iss": self.id, "jti": str(uuid4())} | claims)

    def proof(self, method: str, path: str) -> str:
        return self._says("proof", htm=method, htu=self.issuer + path)

    def response(self, challenge: dict, decision: str) -> str:
        """`challenge`: one of those that it has pulled."""
        digest = b64u(hashlib.sha256(challenge["challenge"].encode()).digest())
        return self._says("response", sub=challenge["id"], challenge_sha256=digest, decision=decision)

    def push_update(self) -> str:
        return self.sign("push-update", {"iss": self.id, "jti": str(uuid4()), "push": {"channel": "none"}})

    def deregistration(self) -> str:
        return self._says("deregistration")

    def key_rotation(self) -> str:
        """Its key from now on is another, whether the server takes it or not."""
        new = Phone(self.issuer)
        proof = new.sign("key-proof", {"rotate_from": self.id}, with_key=True)
        claims = {"iss": self.id, "jti": str(uuid4()), "new_jwk": new.jwk, "proofs": [proof]}
        rotation = self.sign("key-rotation", claims)
        self.key, self.jwk, self.kid = new.key, new.jwk, new.kid
        return rotation

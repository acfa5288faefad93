"""What the checks of this folder share: one line per check, and a stand-in in another process.

A check that does not hold ends the program with status 1 at once. Nothing here may repair, retry or
skip: what an independent client says is taken as it is. To add a client, add a script beside this one
and its line in `scripts/interop.sh`.
"""

import base64
import json
import sys
import urllib.request
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

# Longer than anything takes on a slow machine; nothing waits for it to pass.
DEADLINE_SECONDS = 30


class Checks:
    """Prints what holds, and stops at the first thing that does not."""

    def __init__(self, client: str) -> None:
        self.client = client

    def that(self, sentence: str, holds: bool, found: object = None) -> None:
        """`found` is shown if it does not hold."""
        print(f"{'ok  ' if holds else 'FAIL'} {self.client}: {sentence}", flush=True)
        if not holds:
            sys.exit(f"interop: found {found!r}")

    def equal(self, sentence: str, found: object, wanted: object) -> None:
        self.that(sentence, found == wanted, f"{found!r}, wanted {wanted!r}")


def b64u(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64u(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def point(key: ec.EllipticCurvePrivateKey) -> str:
    """The public half as browsers write it: an uncompressed point, b64u."""
    form = (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return b64u(key.public_key().public_bytes(*form))


class StandIn:
    """A stand-in that has said, in a file of one JSON object, that it is ready."""

    def __init__(self, ready_file: str) -> None:
        self.ready = json.loads(Path(ready_file).read_text())
        self.base_url: str = self.ready["base_url"]
        self.ca_file: str = self.ready["ca_file"]
        # No proxy of the machine's: everything is on loopback.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def register(self, keys: dict | None = None) -> dict:
        """A fresh device, as the `push` claim of a registration (docs/protocol.md, section 8)."""
        return self._ask("/register", {} if keys is None else keys)

    def script(self, token: str, *behaviours: dict) -> None:
        """What the next requests for `token` meet in place of the stand-in's judgement."""
        self._ask(f"/script/{token}", list(behaviours))

    def pushes(self, token: str, after: int = 0) -> list[dict]:
        """What it accepted for `token`, the first fifty: held until there is something, up to the deadline."""
        return self._ask(f"/pushes/{token}?after={after}&wait={DEADLINE_SECONDS}")["pushes"]

    def status(self) -> dict:
        """What it has counted."""
        return self._ask("/status")

    def _ask(self, path: str, body: object = None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.ready["control_url"] + path, data)
        with self.opener.open(request, timeout=2 * DEADLINE_SECONDS) as reply:
            text = reply.read()
        return json.loads(text) if text else None

"""The official library of Standard Webhooks verifies what the real server tells a webhook.

Usage: webhooks_standardwebhooks.py COUNTERSIGN FOLDER READY.json OUT.json: the server's program, an empty folder of its
own, a fresh stand-in of a receiver; OUT.json gets messages and secrets for `webhooks_standardwebhooks.js`. The `v1a`
signatures, which the library does not know, are verified by `cryptography`. A check that does not hold ends the program
with status 1 at once.
"""

import base64
import json
import signal
import sys
import time
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from checks import DEADLINE_SECONDS, Checks, StandIn
from server import Server

CHECKS = Checks("standardwebhooks")
USER = {"external_id": "ada"}


def headers_of(message: dict) -> dict:
    return {f"webhook-{name}": message[name] for name in ("id", "timestamp", "signature")}


def verifies(secret: str, message: dict, **changes: str) -> bool:
    changed = message | changes
    try:
        Webhook(secret).verify(changed["body"], headers_of(changed))
    except WebhookVerificationError:
        return False
    return True


def verifies_ed25519(public_key: str, message: dict, **changes: str) -> bool:
    changed = message | changes
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
    signed = f"{changed['id']}.{changed['timestamp']}.{changed['body']}".encode()
    for part in changed["signature"].split(" "):
        version, signature = part.split(",")
        if version == "v1a":
            try:
                key.verify(base64.b64decode(signature), signed)
                return True
            except InvalidSignature:
                pass
    return False


class Told:
    """What the receiver takes, in the order in which it comes."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in, self.after, self.waiting = stand_in, 0, []

    def next(self, kind: str) -> dict:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            for message in self.waiting:
                if json.loads(message["body"])["type"] == kind:
                    self.waiting.remove(message)
                    return message
            for attempt in self.stand_in.pushes("default", self.after):
                self.after = attempt["sequence"]
                self.waiting.append(attempt["push"])
        sys.exit(f"interop: no {kind} was told")


def checks_signatures(hook: dict, message: dict) -> None:
    secret, public_key = hook["secret"], hook["public_key"]
    CHECKS.that("the library verifies the message", verifies(secret, message), message)
    CHECKS.that("cryptography verifies its ed25519 signature", verifies_ed25519(public_key, message), message)
    other = message["body"].replace("approved", "denied", 1)
    later = str(int(message["timestamp"]) + 1)
    for what, change in {"body": other, "timestamp": later, "id": "another"}.items():
        CHECKS.that(f"with another {what} the library refuses it", not verifies(secret, message, **{what: change}))
        CHECKS.that(f"and so does cryptography", not verifies_ed25519(public_key, message, **{what: change}))
    foreign = "whsec_" + base64.b64encode(bytes(32)).decode()
    CHECKS.that("and with another secret", not verifies(foreign, message))
    CHECKS.that("an old timestamp would be noticed", not verifies(secret, message, timestamp="1000000000"))


def checks_content(server: Server, message: dict, challenge: dict) -> None:
    body = json.loads(message["body"])
    shown = server.call(f"/v1/challenges/{challenge['id']}?include=evidence")
    told = body["data"]["challenge"]
    CHECKS.equal("it is about the challenge", (told["id"], told["status"]), (challenge["id"], "approved"))
    CHECKS.equal("with the evidence that the API shows", told["evidence"], shown["evidence"])
    claims = told["result_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    CHECKS.equal("and a result token for it", (claims["jti"], claims["status"]), (challenge["id"], "approved"))
    events = {event["id"]: event for event in server.call("/v1/events?limit=200")["items"]}
    CHECKS.equal("its id is the event's", events[message["id"]]["type"], "challenge.approved")


def run(server: Server, stand_in: StandIn, out: Path) -> None:
    created = server.command("api-client", "create", "--name", "admin", "--scopes", "admin")
    server.api_key = created["api_key"]
    hook = server.call("/v1/webhooks", {"url": stand_in.ready["hook_url"]})
    path, told = f"/v1/webhooks/{hook['id']}", Told(stand_in)
    messages = [{"secret": hook["secret"], "public_key": hook["public_key"], **told.next("webhook.created")}]
    server.enroll(USER, {"channel": "none"})
    challenge = server.call("/v1/challenges", {"user": USER, "verification": {"mode": "none"}})
    server.command("device", "approve", challenge["id"])
    approved = told.next("challenge.approved")
    checks_signatures(hook, approved)
    checks_content(server, approved, challenge)
    messages.append({"secret": hook["secret"], "public_key": hook["public_key"], **approved})

    new = server.call(f"{path}/rotate-secret", {"overlap_seconds": 3600})
    server.call(f"{path}/test", {})
    test = told.next("webhook.test")
    for name, keys in {"old": hook, "new": new}.items():
        CHECKS.that(f"while both are good, the {name} secret verifies", verifies(keys["secret"], test), test)
        CHECKS.that(f"and the {name} key", verifies_ed25519(keys["public_key"], test), test)
        messages.append({"secret": keys["secret"], "public_key": keys["public_key"], **test})
    out.write_text(json.dumps(messages))


def main(program: str, folder: str, ready: str, out: str) -> None:
    # So that the server is ended, too, when this program is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stand_in = StandIn(ready)
    with Server(program, Path(folder), stand_in.ready["settings"]) as server:
        run(server, stand_in, Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])

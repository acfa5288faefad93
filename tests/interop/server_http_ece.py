"""http-ece decrypts what the real server sends, PyJWT verifies who sent it, and the stand-ins that the
other scripts have put to the test take its pushes.

Usage: server_http_ece.py COUNTERSIGN FOLDER APNS.json FCM.json WEBPUSH.json: the server's program, an empty
folder of its own, and the stand-ins.
"""

import json
import queue
import re
import signal
import sys
import time
from datetime import datetime
from pathlib import Path
from uuid import UUID

import http_ece
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from checks import DEADLINE_SECONDS, Checks, StandIn, b64u, point, unb64u
from receiver import Received, Receiver
from server import Server, push_settings

CHECKS = Checks("http-ece")
DAY_SECONDS = 24 * 3_600
# Nothing of these may reach a provider.
USER = {"external_id": "canary-employee", "display_name": "Canary Lovelace"}
QUESTION = {
    "user": {"external_id": USER["external_id"]}, "application": "Canary VPN", "action": "canary.sign_in",
    "message": "Canary message", "client_reference": "canary-reference", "ttl_seconds": 300,
    "context": {"ip": "203.0.113.77", "location": "Canary Islands", "user_agent": "CanaryBrowser"},
    "details": [{"label": "Canary label", "value": "Canary value"}],
}
CANARIES = re.compile(rb"canary|lovelace|203\.0\.113\.77", re.IGNORECASE)
# All that the providers were handed, as they could read it at best: decrypted, too.
SEEN: list[bytes] = []


class Browser:
    """A browser's keys, and a subscription at the receiver, which knows none of them."""

    def __init__(self, origin: str) -> None:
        self.key, self.auth = ec.generate_private_key(ec.SECP256R1()), b"sixteen bytes..."
        self.path = "/push/a-secret-of-this-browser"
        self.binding = {
            "channel": "webpush", "endpoint": origin + self.path, "p256dh": point(self.key), "auth": b64u(self.auth)}

    def decrypt(self, body: bytes, **others) -> bytes:
        keys = {"private_key": self.key, "auth_secret": self.auth} | others
        return http_ece.decrypt(body, version="aes128gcm", **keys)


def raises(error: type[Exception], what) -> bool:
    try:
        what()
    except error:
        return True
    return False


def next_push(receiver: Receiver, browser: Browser, kind: str) -> tuple[Received, dict]:
    """The next push of this kind, with its decrypted body."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        try:
            request = receiver.requests.get(timeout=left)
        except queue.Empty:
            break
        plain = browser.decrypt(request.body)
        SEEN.append(json.dumps([request.path, request.headers]).encode() + request.body + plain)
        if (payload := json.loads(plain))["kind"] == kind:
            return request, payload
    sys.exit(f"interop: no push of kind {kind} came")


def next_at(stand_in: StandIn, token: str, read, kind: str) -> dict:
    """The first push of this kind that a stand-in accepted for a token; `read` finds its members."""
    deadline, after = time.monotonic() + DEADLINE_SECONDS, 0
    while time.monotonic() < deadline:
        for attempt in stand_in.pushes(token, after):
            after = attempt["sequence"]
            SEEN.append(json.dumps(attempt).encode())
            if read(attempt["push"])["kind"] == kind:
                return attempt["push"]
    sys.exit(f"interop: no push of kind {kind} came")


def checks_content(request: Received, payload: dict, browser: Browser, device: dict, challenge: dict) -> None:
    ids = {name: payload.get(name) for name in ("v", "device_id", "challenge_id")}
    CHECKS.equal("http-ece decrypts a push about this challenge, for this device", ids, {
        "v": 1, "device_id": device["device_id"], "challenge_id": challenge["id"]})
    CHECKS.that("it has an id of its own", str(UUID(payload["notification_id"])) == payload["notification_id"])
    # RFC 8188, section 2.1: salt (16), record size (4), length of the key id (1), key id.
    size, id_length = int.from_bytes(request.body[16:20], "big"), request.body[20]
    CHECKS.that("it is one record", 18 <= len(request.body) - 86 <= size and id_length == 65, (size, id_length))
    CHECKS.that("no push service finds it too long", len(request.body) <= 4_096, len(request.body))
    changed = request.body[:-1] + bytes([request.body[-1] ^ 1])
    refused = http_ece.ECEException
    CHECKS.that("with one bit changed http-ece refuses it", raises(refused, lambda: browser.decrypt(changed)))
    other_key = ec.generate_private_key(ec.SECP256R1())
    CHECKS.that("so it does with another browser's key",
                raises(refused, lambda: browser.decrypt(request.body, private_key=other_key)))
    CHECKS.that("and with another secret",
                raises(refused, lambda: browser.decrypt(request.body, auth_secret=bytes(16))))


def checks_headers(request: Received, browser: Browser, challenge: dict) -> None:
    headers = request.headers
    CHECKS.equal("it went to the endpoint", (request.method, request.path), ("POST", browser.path))
    found = (headers.get("content-encoding"), headers.get("urgency"))
    CHECKS.equal("it says how it is encrypted, and that it is urgent", found, ("aes128gcm", "high"))
    CHECKS.that("it is kept for as long as the challenge", is_lifetime(int(headers["ttl"]), challenge), headers["ttl"])
    topic = headers["topic"]
    CHECKS.that("its topic is one (RFC 8030, section 5.4)", bool(re.fullmatch("[A-Za-z0-9_-]{1,32}", topic)), topic)
    CHECKS.that("and not the challenge's id", challenge["id"].replace("-", "") not in topic.replace("-", ""), topic)


def checks_sender(request: Received, receiver: Receiver, server: Server) -> None:
    form = re.fullmatch(r"vapid t=([^,\s]+), ?k=([A-Za-z0-9_-]+)", request.headers.get("authorization", ""))
    CHECKS.that("it says who sends it (RFC 8292)", form is not None, request.headers)
    token, key = form.groups()
    known = server.call("/.well-known/countersign")["vapid_public_key"]
    CHECKS.equal("with the key that browsers are told", key, known)
    public_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unb64u(key))

    def verify(verifying_key=public_key, audience: str = receiver.origin) -> dict:
        options = {"require": ["aud", "exp", "sub"]}
        return jwt.decode(token, verifying_key, algorithms=["ES256"], audience=audience, options=options)

    claims = verify()
    CHECKS.equal("PyJWT verifies its token", claims["sub"], "mailto:operator@example.org")
    CHECKS.that("it is good for a day at most", claims["exp"] <= time.time() + DAY_SECONDS, claims)
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    CHECKS.that("PyJWT refuses it with another key", raises(jwt.InvalidSignatureError, lambda: verify(other)))
    CHECKS.that("and for another push service",
                raises(jwt.InvalidAudienceError, lambda: verify(audience="https://push.example.org")))


def checks_stand_ins(stand_ins: dict[str, StandIn], bindings: dict, devices: dict, challenge: dict) -> None:
    push = next_at(stand_ins["apns"], bindings["apns"]["token"], lambda push: push["payload"], "challenge")
    members = push["payload"]
    found = [push[name] for name in ("topic", "push_type", "priority", "collapse_id", "expiration", "apns_id")]
    CHECKS.equal("the stand-in of APNs takes ours as it takes the clients' alerts", found, [
        bindings["apns"]["topic"], "alert", 10, challenge["id"], expires_at(challenge), members["notification_id"]])
    CHECKS.equal("and it is for this device", members["device_id"], devices["apns"]["device_id"])
    push = next_at(stand_ins["fcm"], bindings["fcm"]["token"], lambda push: push["data"], "challenge")
    found = (push["priority"], push["collapse_key"], push["data"]["device_id"])
    CHECKS.equal("the stand-in of FCM takes ours as it takes google-auth's", found,
                 ("HIGH", challenge["id"], devices["fcm"]["device_id"]))
    CHECKS.that("for as long as the challenge", is_lifetime(push["ttl_seconds"], challenge), push["ttl_seconds"])
    subscription = bindings["webpush"]["endpoint"].rsplit("/", 1)[1]
    push = next_at(stand_ins["webpush"], subscription, lambda push: json.loads(push["plain"]), "challenge")
    CHECKS.equal("the stand-in of Web Push decrypts ours as it does pywebpush's",
                 json.loads(push["plain"])["device_id"], devices["webpush"]["device_id"])


def checks_withdrawal(stand_ins: dict[str, StandIn], bindings: dict, challenge: dict) -> None:
    push = next_at(stand_ins["apns"], bindings["apns"]["token"], lambda push: push["payload"], "withdrawn")
    found = (push["push_type"], push["priority"], push["payload"]["aps"], push["payload"]["challenge_id"])
    CHECKS.equal("the withdrawal is a background push, as the clients send it", found,
                 ("background", 5, {"content-available": 1}, challenge["id"]))
    push = next_at(stand_ins["fcm"], bindings["fcm"]["token"], lambda push: push["data"], "withdrawn")
    CHECKS.equal("FCM is told as well", push["data"]["challenge_id"], challenge["id"])


def checks_canaries(challenge: dict) -> None:
    wanted = [USER["external_id"], USER["display_name"], QUESTION["context"]["ip"]]
    CHECKS.that("a canary would be noticed", all(CANARIES.search(text.encode()) for text in wanted), wanted)
    number = challenge["number"].encode()
    found = [seen for seen in SEEN if CANARIES.search(seen) or number in seen]
    CHECKS.equal(f"nothing of the question is in the {len(SEEN)} pushes that went out", found, [])


def expires_at(challenge: dict) -> int:
    return int(datetime.fromisoformat(challenge["expires_at"].replace("Z", "+00:00")).timestamp())


def is_lifetime(seconds: int, challenge: dict) -> bool:
    """No less than what is left of the challenge by now, no more than it had at its start."""
    return expires_at(challenge) - int(time.time()) - 1 <= seconds <= QUESTION["ttl_seconds"]


def run(server: Server, receiver: Receiver, stand_ins: dict[str, StandIn]) -> None:
    browser = Browser(receiver.origin)
    bindings = {name: stand_in.register() for name, stand_in in stand_ins.items()} | {"receiver": browser.binding}
    devices = {name: server.enroll(USER, binding) for name, binding in bindings.items()}
    CHECKS.equal("four devices are enrolled", len(devices), 4)
    elsewhere = browser.binding | {"endpoint": "https://127.0.0.1:1/push/x"}
    refusal = server.enroll(USER, elsewhere, succeeds=False)["problem"]
    CHECKS.equal("an endpoint on a port that is not allowed is refused", refusal["status"], 422)

    challenge = server.call("/v1/challenges", QUESTION)
    request, payload = next_push(receiver, browser, "challenge")
    checks_content(request, payload, browser, devices["receiver"], challenge)
    checks_headers(request, browser, challenge)
    checks_sender(request, receiver, server)
    checks_stand_ins(stand_ins, bindings, devices, challenge)
    server.command("device", "deny", challenge["id"], "--device", devices["receiver"]["device_id"])
    checks_withdrawal(stand_ins, bindings, challenge)
    checks_canaries(challenge)


def main(program: str, folder: str, apns: str, fcm: str, webpush: str) -> None:
    # So that the server is ended, too, when this program is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(folder)
    stand_ins = {"apns": StandIn(apns), "fcm": StandIn(fcm), "webpush": StandIn(webpush)}
    with Receiver(folder) as receiver:
        ca_pems = [Path(stand_in.ca_file).read_text() for stand_in in stand_ins.values()] + [receiver.ca_pem]
        ports = [receiver.port, int(stand_ins["webpush"].base_url.rsplit(":", 1)[1])]
        settings = push_settings(folder, ca_pems, ports, stand_ins["apns"], stand_ins["fcm"])
        with Server(program, folder, settings) as server:
            run(server, receiver, stand_ins)


if __name__ == "__main__":
    main(*sys.argv[1:])

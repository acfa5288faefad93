"""pywebpush sends to the stand-in of a browser vendor's push service, and the browser behind it decrypts.

Usage: webpush_pywebpush.py READY.json
"""

import sys
import time
from unittest import mock

import http_ece
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02
from pywebpush import WebPushException, webpush

from checks import Checks, StandIn, b64u, point, unb64u

CHECKS = Checks("pywebpush")
DAY_SECONDS = 24 * 3_600
TEXT = '{"v":1,"kind":"test","what":"Grüße"}'


class Sender:
    """An application server with a VAPID key."""

    def __init__(self, stand_in: StandIn) -> None:
        self.vapid = Vapid02(ec.generate_private_key(ec.SECP256R1()))
        self.public_key = point(self.vapid.private_key)
        self.session = requests.Session()
        # Neither a proxy nor further authorities of the machine's.
        self.session.trust_env = False
        self.session.verify = stand_in.ca_file

    def send(self, binding: dict, text: str = TEXT, claims: dict | None = None, **options) -> requests.Response:
        """`binding` as in docs/protocol.md, section 8; `claims`: those that differ."""
        keys = {"p256dh": binding["p256dh"], "auth": binding["auth"]}
        options = {"ttl": 120, "headers": {"urgency": "high", "topic": "some-topic"}} | options
        return webpush(
            {"endpoint": binding["endpoint"], "keys": keys}, text, vapid_private_key=self.vapid,
            vapid_claims={"sub": "mailto:operator@example.org"} | (claims or {}),
            requests_session=self.session, timeout=30, **options)

    def refused(self, sentence: str, status: int, word: str, binding: dict, **options) -> None:
        """The client reports this status, and the stand-in's word."""
        try:
            found = self.send(binding, **options)
        except WebPushException as error:
            found = (error.status_code, error.response.json()["error"])
        CHECKS.equal(f"{sentence}: {status} {word}", found, (status, word))


def subscription_id(binding: dict) -> str:
    return binding["endpoint"].rsplit("/", 1)[1]


def a_browser_of_the_stand_in_decrypts(stand_in: StandIn, sender: Sender) -> dict:
    binding = stand_in.register()
    reply = sender.send(binding)
    CHECKS.equal("a push is accepted", reply.status_code, 201)
    CHECKS.equal("for as long as it was sent for", reply.headers.get("TTL"), "120")
    CHECKS.that("as a message of its own", bool(reply.headers.get("Location")), dict(reply.headers))
    push = stand_in.pushes(subscription_id(binding))[-1]["push"]
    CHECKS.equal("the stand-in decrypts it", push["plain"], TEXT)
    found = (push["topic"], push["urgency"], push["ttl_seconds"], push["vapid_key"])
    CHECKS.equal("it knows what the headers said", found, ("some-topic", "high", 120, sender.public_key))
    return binding


def a_browser_of_ours_decrypts(stand_in: StandIn, sender: Sender) -> None:
    key, auth = ec.generate_private_key(ec.SECP256R1()), b"sixteen bytes..."
    binding = stand_in.register(
        {"p256dh": point(key), "auth": b64u(auth), "application_server_key": sender.public_key})
    sender.send(binding)
    push = stand_in.pushes(subscription_id(binding))[-1]["push"]
    plain = http_ece.decrypt(unb64u(push["body"]), private_key=key, auth_secret=auth, version="aes128gcm")
    CHECKS.equal("a body passes the stand-in unchanged", plain.decode(), TEXT)
    Sender(stand_in).refused("another VAPID key than the subscription's", 403, "vapid_other_key", binding)


def refuses_what_is_wrong(stand_in: StandIn, sender: Sender, binding: dict) -> None:
    elsewhere = {"aud": "https://push.example.org"}
    sender.refused("a VAPID token for elsewhere", 403, "vapid_audience", binding, claims=elsewhere)
    long = {"exp": int(time.time()) + 2 * DAY_SECONDS}
    sender.refused("a VAPID token for two days", 403, "vapid_expiry", binding, claims=long)
    two_days_ago = time.time() - 2 * DAY_SECONDS
    with mock.patch("pywebpush.time.time", lambda: two_days_ago):
        sender.refused("a VAPID token of two days ago", 403, "vapid_expired", binding)
    forger = Sender(stand_in)
    # It signs with its own key, and shows another's.
    forger.vapid._public_key = sender.vapid.public_key
    forger.refused("a VAPID token of another key", 403, "vapid_signature", binding)
    sender.refused("a body for another browser", 400, "not_decrypted", stand_in.register() | {
        "endpoint": binding["endpoint"]})
    sender.refused("an encoding of long ago", 415, "content_encoding", binding, content_encoding="aesgcm")
    sender.refused("no body", 415, "content_encoding", binding, text="")
    sender.refused("4097 bytes", 413, "too_large", binding, text="x" * (4_097 - 86 - 17))
    sender.refused("an urgency that is none", 400, "urgency", binding, headers={"urgency": "now"})
    sender.refused("a topic of 33 characters", 400, "topic", binding, headers={"topic": "t" * 33})
    unknown = binding | {"endpoint": binding["endpoint"] + "x"}
    sender.refused("an unknown subscription", 404, "unknown_subscription", unknown)
    stand_in.script(subscription_id(binding), {"do": "gone"})
    sender.refused("a subscription that is gone", 410, "expired_subscription", binding)
    sender.session.verify = True
    try:
        sender.send(binding)
        CHECKS.that("who does not trust the stand-in's authority sends it nothing", False)
    except requests.exceptions.SSLError:
        CHECKS.that("who does not trust the stand-in's authority sends it nothing", True)


def main(ready_file: str) -> None:
    stand_in = StandIn(ready_file)
    sender = Sender(stand_in)
    binding = a_browser_of_the_stand_in_decrypts(stand_in, sender)
    a_browser_of_ours_decrypts(stand_in, sender)
    longest = sender.send(binding, text="x" * (4_096 - 86 - 17))
    CHECKS.equal("4096 bytes are accepted", longest.status_code, 201)
    before = stand_in.status()["accepted"]
    refuses_what_is_wrong(stand_in, sender, binding)
    CHECKS.equal("nothing that was refused was received", stand_in.status()["accepted"], before)


if __name__ == "__main__":
    main(sys.argv[1])

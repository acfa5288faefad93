"""aioapns sends to the stand-in of APNs: each tells the other what Apple's documents say.

Usage: apns_aioapns.py READY.json. The stand-in must be a fresh one, with two topics: a key may
show one provider token in 20 minutes.
"""

import asyncio
import logging
import ssl
import sys
import time
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit
from uuid import uuid4

from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsTLSClientProtocol
from aioapns.exceptions import MaxAttemptsExceeded
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from checks import DEADLINE_SECONDS, Checks, StandIn

CHECKS = Checks("aioapns")
ALERT = {"aps": {"alert": {"title-loc-key": "TITLE", "loc-key": "BODY"}, "sound": "default"}, "v": 1}


def client(stand_in: StandIn, **changes) -> APNs:
    """A client as an operator would set it up, but for the address, which it has no option for."""
    options = {
        "key": Path(stand_in.ready["key_file"]).read_text(),
        "key_id": stand_in.ready["key_id"],
        "team_id": stand_in.ready["team_id"],
        "topic": stand_in.ready["topics"][0],
        "ssl_context": ssl.create_default_context(cafile=stand_in.ca_file),
        "max_connection_attempts": 1,
    }
    apns = APNs(**(options | changes))
    address = urlsplit(stand_in.base_url)
    here = {"APNS_SERVER": address.hostname, "APNS_PORT": address.port}
    apns.pool.protocol_class = type("StandInProtocol", (APNsTLSClientProtocol,), here)
    return apns


def other_key() -> str:
    """A key that the stand-in does not know, as a .p8 file."""
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(*pem).decode()


async def refused(apns: APNs, sentence: str, wanted: tuple[str, str], **request) -> None:
    """The client reports this status and reason."""
    request = {"message": ALERT, "push_type": PushType.ALERT} | request
    result = await apns.send_notification(NotificationRequest(**request))
    CHECKS.equal(f"{sentence}: {wanted[1]}", (result.status, result.description), wanted)


async def accepts_what_is_right(stand_in: StandIn, apns: APNs, token: str) -> None:
    sent_at, notification_id, collapse_id = int(time.time()), str(uuid4()), str(uuid4())
    request = NotificationRequest(
        token, ALERT, notification_id, 120, 10, collapse_id, PushType.ALERT)
    result = await apns.send_notification(request)
    CHECKS.equal("an alert is accepted, under its own id",
                 (result.status, result.notification_id), ("200", notification_id))
    push = stand_in.pushes(token)[-1]["push"]
    expires_in = push.pop("expiration") - sent_at
    CHECKS.that("it expires when the client said", 120 <= expires_in <= 120 + DEADLINE_SECONDS, expires_in)
    push.pop("stream")
    CHECKS.equal("it arrived as it was sent", push, {
        "apns_id": notification_id, "topic": apns.pool.apns_topic, "push_type": "alert", "priority": 10,
        "collapse_id": collapse_id, "key_id": stand_in.ready["key_id"], "payload": ALERT,
    })
    background = NotificationRequest(
        token, {"aps": {"content-available": 1}}, priority=5, push_type=PushType.BACKGROUND)
    CHECKS.equal("a background push of priority 5 is accepted",
                 (await apns.send_notification(background)).status, "200")
    many = [NotificationRequest(token, ALERT, push_type=PushType.ALERT) for _ in range(50)]
    results = await asyncio.gather(*(apns.send_notification(one) for one in many))
    CHECKS.equal("fifty at once are accepted", {result.status for result in results}, {"200"})
    status = stand_in.status()
    CHECKS.equal("all over one connection with one provider token",
                 (status["connections"], status["provider_tokens"]), (1, 1))


async def refuses_what_is_wrong(stand_in: StandIn, apns: APNs, token: str) -> None:
    await refused(apns, "a topic that is not ours", ("400", "TopicDisallowed"),
                  device_token=token, apns_topic="org.example.nobodys")
    await refused(apns, "another topic of ours", ("400", "DeviceTokenNotForTopic"),
                  device_token=token, apns_topic=stand_in.ready["topics"][1])
    await refused(apns, "a token that is none", ("400", "BadDeviceToken"), device_token="none")
    await refused(apns, "no token", ("400", "MissingDeviceToken"), device_token="")
    await refused(apns, "a priority that is none", ("400", "BadPriority"), device_token=token, priority=7)
    await refused(apns, "a collapse id of 65 bytes", ("400", "BadCollapseId"),
                  device_token=token, collapse_key="c" * 65)
    await refused(apns, "an id that is none", ("400", "BadMessageId"), device_token=token, notification_id="7")
    await refused(apns, "4097 bytes", ("413", "PayloadTooLarge"),
                  device_token=token, message=ALERT | {"more": "x" * 4_096})


async def scripts_what_apple_says(stand_in: StandIn, apns: APNs, token: str) -> None:
    gone_at = 1_700_000_000_123
    stand_in.script(token, {"do": "gone", "timestamp_millis": gone_at})
    gone = await apns.send_notification(NotificationRequest(token, ALERT, push_type=PushType.ALERT))
    CHECKS.equal("a token that is gone: Unregistered, with its time in milliseconds",
                 (gone.status, gone.description, gone.timestamp), ("410", "Unregistered", gone_at))
    stand_in.script(token, {"do": "status", "code": 429}, {"do": "status", "code": 503})
    await refused(apns, "too many for one device", ("429", "TooManyRequests"), device_token=token)
    await refused(apns, "Apple is down", ("503", "ServiceUnavailable"), device_token=token)


async def checks_who_sends(stand_in: StandIn, token: str) -> None:
    async def one(sentence: str, wanted: tuple[str, str], **changes) -> None:
        apns = client(stand_in, **changes)
        await refused(apns, sentence, wanted, device_token=token)
        apns.pool.close()

    invalid = ("403", "InvalidProviderToken")
    await one("another's key", invalid, key=other_key())
    await one("an unknown key id", invalid, key_id="UNKNOWN000")
    await one("another team", invalid, team_id="UNKNOWN000")
    two_hours_ago = time.time() - 2 * 3_600
    with mock.patch("aioapns.connection.time.time", lambda: two_hours_ago):
        await one("a provider token of two hours ago", ("403", "ExpiredProviderToken"))
    await one("a second provider token within 20 minutes", ("429", "TooManyProviderTokenUpdates"))
    try:
        await one("", invalid, ssl_context=ssl.create_default_context())
        CHECKS.that("who does not trust the stand-in's authority sends it nothing", False)
    except MaxAttemptsExceeded:
        CHECKS.that("who does not trust the stand-in's authority sends it nothing", True)


async def main(ready_file: str) -> None:
    # What it logs, it also returns; and a refusal is what most of these checks want.
    logging.disable(logging.CRITICAL)
    stand_in = StandIn(ready_file)
    token = stand_in.register()["token"]
    apns = client(stand_in)
    await accepts_what_is_right(stand_in, apns, token)
    accepted = stand_in.status()["accepted"]
    await refuses_what_is_wrong(stand_in, apns, token)
    await scripts_what_apple_says(stand_in, apns, token)
    apns.pool.close()
    await checks_who_sends(stand_in, token)
    CHECKS.equal("nothing that was refused was received", stand_in.status()["accepted"], accepted)


if __name__ == "__main__":
    # The client itself would wait for an answer for ever.
    asyncio.run(asyncio.wait_for(main(sys.argv[1]), 4 * DEADLINE_SECONDS))

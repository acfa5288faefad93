"""google-auth gets an access token from the stand-in of FCM's OAuth endpoint, and a push is sent with it.

Usage: fcm_google_auth.py READY.json
"""

import datetime
import json
import re
import sys
from pathlib import Path
from unittest import mock

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import _helpers
from google.auth.exceptions import RefreshError, TransportError
from google.auth.transport.requests import Request
from google.oauth2.service_account import Credentials

from checks import DEADLINE_SECONDS, Checks, StandIn

CHECKS = Checks("google-auth")
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"


class Sender:
    """An account's credentials, and the calls of FCM's HTTP v1 API."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        self.account = json.loads(Path(stand_in.ready["service_account_file"]).read_text())
        self.session = requests.Session()
        # Neither a proxy nor further authorities of the machine's.
        self.session.trust_env = False
        self.session.verify = stand_in.ca_file

    def credentials(self, scope: str = SCOPE, **changes: str) -> Credentials:
        """As from the account's file, with changes. Refreshed by hand only: the client's own session would
        also ask Google where the account may be used from."""
        return Credentials.from_service_account_info(self.account | changes, scopes=[scope])

    def refresh(self, credentials: Credentials) -> Credentials:
        credentials.refresh(Request(self.session))
        return credentials

    def send(self, access_token: str, message: dict, project: str | None = None) -> requests.Response:
        url = f"{self.stand_in.base_url}/v1/projects/{project or self.account['project_id']}/messages:send"
        headers = {"Authorization": f"Bearer {access_token}"}
        return self.session.post(url, json={"message": message}, headers=headers, timeout=30)


def other_key() -> str:
    """A key that the stand-in does not know, as it stands in an account's file."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*pem).decode()


def gets_a_token(sender: Sender) -> str:
    credentials = sender.refresh(sender.credentials())
    CHECKS.that("the account's file gets an access token", credentials.valid and bool(credentials.token))
    lifetime = (credentials.expiry - _helpers.utcnow()).total_seconds()
    CHECKS.that("it is good for an hour", 3_600 - DEADLINE_SECONDS <= lifetime <= 3_600, lifetime)
    status = sender.stand_in.status()
    CHECKS.equal("for one assertion", (status["assertions"], status["good_assertions"]), (1, 1))
    return credentials.token


def is_refused_a_token(sender: Sender) -> None:
    def refused(sentence: str, credentials: Credentials, wanted: str) -> None:
        try:
            sender.refresh(credentials)
        except RefreshError as error:
            CHECKS.equal(f"{sentence}: {wanted}", (error.args[1]["error"], error.retryable), (wanted, False))
        else:
            CHECKS.that(f"{sentence}: {wanted}", False, "an access token")

    two_hours_ago = _helpers.utcnow() - datetime.timedelta(hours=2)
    with mock.patch("google.auth._helpers.utcnow", lambda: two_hours_ago):
        refused("an assertion of two hours ago", sender.credentials(), "invalid_grant")
    in_an_hour = _helpers.utcnow() + datetime.timedelta(hours=1)
    with mock.patch("google.auth._helpers.utcnow", lambda: in_an_hour):
        refused("an assertion from the future", sender.credentials(), "invalid_grant")
    refused("another's key", sender.credentials(private_key=other_key()), "invalid_grant")
    refused("an unknown key id", sender.credentials(private_key_id="0" * 40), "invalid_grant")
    refused("an unknown account", sender.credentials(client_email="who@example.org"), "invalid_grant")
    read_only = "https://www.googleapis.com/auth/drive.readonly"
    refused("a scope without messages", sender.credentials(scope=read_only), "invalid_scope")
    CHECKS.equal("no such assertion was found good", sender.stand_in.status()["good_assertions"], 1)
    sender.session.verify = True
    try:
        sender.refresh(sender.credentials())
        CHECKS.that("who does not trust the stand-in's authority sends it nothing", False)
    except TransportError:
        CHECKS.that("who does not trust the stand-in's authority sends it nothing", True)
    sender.session.verify = sender.stand_in.ca_file


def sends(sender: Sender, access_token: str) -> None:
    token = sender.stand_in.register()["token"]
    data = {"v": "1", "kind": "test"}
    android = {"priority": "HIGH", "ttl": "120s", "collapse_key": "some-challenge"}
    message = {"token": token, "data": data, "android": android}
    reply = sender.send(access_token, message)
    CHECKS.equal("a message is accepted", reply.status_code, 200)
    name, project = reply.json()["name"], sender.account["project_id"]
    CHECKS.that("it is given a name", bool(re.fullmatch(f"projects/{project}/messages/[^/]+", name)), name)
    push = sender.stand_in.pushes(token)[-1]["push"]
    CHECKS.equal("it arrived as it was sent", push, {
        "project": project, "message_id": name.rsplit("/", 1)[1], "data": data, "priority": "HIGH",
        "ttl_seconds": 120, "collapse_key": "some-challenge", "request": {"message": message},
    })

    def refused(sentence: str, reply: requests.Response, status: int, word: str) -> None:
        error = reply.json()["error"]
        details = {detail.get("errorCode") or detail.get("reason") for detail in error["details"]}
        CHECKS.equal(f"{sentence}: {word}", (reply.status_code, error["code"], details), (status, status, {word}))

    refused("an access token that is none", sender.send("none", message), 401, "UNAUTHENTICATED")
    refused("another project", sender.send(access_token, message, "other"), 403, "PERMISSION_DENIED")
    number = message | {"data": {"v": 1}}
    refused("data that is no string", sender.send(access_token, number), 400, "INVALID_ARGUMENT")
    unknown = message | {"androyd": {}}
    refused("a member that is none", sender.send(access_token, unknown), 400, "INVALID_ARGUMENT")
    wrong_ttl = message | {"android": {"ttl": 120}}
    refused("a lifetime without its unit", sender.send(access_token, wrong_ttl), 400, "INVALID_ARGUMENT")
    too_long = message | {"data": {"more": "x" * 4_096}}
    refused("4100 bytes", sender.send(access_token, too_long), 400, "INVALID_ARGUMENT")
    sender.stand_in.script(token, {"do": "gone"})
    refused("a token that is gone", sender.send(access_token, message), 404, "UNREGISTERED")
    sender.stand_in.script(token, {"do": "status", "code": 429, "retry_after": "7"})
    busy = sender.send(access_token, message)
    refused("too many", busy, 429, "QUOTA_EXCEEDED")
    CHECKS.equal("with the time to wait", busy.headers.get("Retry-After"), "7")
    CHECKS.equal("nothing that was refused was received", sender.stand_in.status()["accepted"], 1)


def main(ready_file: str) -> None:
    sender = Sender(StandIn(ready_file))
    access_token = gets_a_token(sender)
    is_refused_a_token(sender)
    sends(sender, access_token)


if __name__ == "__main__":
    main(sys.argv[1])

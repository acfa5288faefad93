"""Gives schemathesis something to hit: ids of objects that exist, proofs and artefacts that devices have signed.

Loaded by schemathesis itself (SCHEMATHESIS_HOOKS), started by openapi_schemathesis.py, which says in COUNTERSIGN_UNDER_TEST
where the server is. What is generated goes out as it is, but for one in eight of the ids; what must not happen is
prevented here: no address of a webhook but loopback, no call held, no policy that locks the tester out. To add a noun: a
method of `Stock`, its line in `for_path`.
"""

import json
import os
import random
import re
import urllib.request
from urllib.parse import urlsplit

import schemathesis

from checks import DEADLINE_SECONDS
from phone import Phone

UNDER_TEST = json.loads(os.environ["COUNTERSIGN_UNDER_TEST"])
ISSUER: str = UNDER_TEST["issuer"]
DICE = random.Random(UNDER_TEST["seed"])
# So often one object is used before the next is made.
USES = 6
ENDING = re.compile(r"cancel|confirm|code|response|deregistration|revoke|suspend|key$")
# Each is either refused or on this machine.
ADDRESSES = [
    "https://127.0.0.1:9/hook", "https://[::1]:9/", "https://10.0.0.1/", "http://127.0.0.1/", "https://169.254.169.254/",
    "https://user:word@127.0.0.1:9/", "https://127.0.0.1:9/#part", "https://localhost.:9/", "https://0x7f000001:9/",
]


def ask(method: str, path: str, body: dict | None = None, artefact: str | None = None, headers: dict | None = None):
    data = artefact.encode() if artefact else None if body is None else json.dumps(body).encode()
    kind = "application/jwt" if artefact else "application/json"
    headers = {"Authorization": f"Bearer {UNDER_TEST['api_key']}"} | ({"Content-Type": kind} if data else {}) | (headers or {})
    request = urllib.request.Request(ISSUER + path, data, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=DEADLINE_SECONDS) as reply:
        text = reply.read()
    return json.loads(text) if text else None


class Stock:
    """Objects that exist, one of each noun at a time."""

    def __init__(self) -> None:
        self.kept: dict[str, list] = {}
        self.made = 0

    def one(self, noun: str):
        kept = self.kept.get(noun)
        if kept is None or kept[1] == 0:
            kept = self.kept[noun] = [getattr(self, "make_" + noun)(), USES]
        kept[1] -= 1
        return kept[0]

    def ended(self) -> None:
        """Something may have come to its end: nothing of before is used again."""
        self.kept.clear()

    def make_enrollment(self) -> dict:
        self.made += 1
        return ask("POST", "/v1/enrollments", {"user": {"external_id": f"person-{self.made}"}})

    def make_claimed(self) -> dict:
        enrollment, phone = self.make_enrollment(), Phone(ISSUER)
        found = ask("POST", "/v1/device/registrations", artefact=phone.registration(enrollment["ticket"]))
        phone.id = found["device_id"]
        return enrollment | {"phone": phone, "code": found["confirmation_code"]}

    def make_device(self) -> dict:
        claimed = self.make_claimed()
        ask("POST", f"/v1/enrollments/{claimed['id']}/confirmation", {"code": claimed["code"]})
        return claimed

    def make_challenge(self) -> dict:
        user = {"external_id": self.one("device")["user"]["external_id"]}
        return ask("POST", "/v1/challenges", {"user": user, "verification": {"mode": "none"}})

    def make_ended_challenge(self) -> dict:
        return ask("POST", f"/v1/challenges/{self.make_challenge()['id']}/cancel")

    def make_api_client(self) -> dict:
        return ask("POST", "/v1/api-clients", {"name": "other", "scopes": ["users:read"]})

    def make_webhook(self) -> dict:
        # There may be only so many, and those that were generated count.
        for old in ask("GET", "/v1/webhooks?limit=200")["items"]:
            ask("DELETE", f"/v1/webhooks/{old['id']}")
        webhook = ask("POST", "/v1/webhooks", {"url": ADDRESSES[0]})
        ask("POST", f"/v1/webhooks/{webhook['id']}/test", {})
        told = ask("GET", f"/v1/webhooks/{webhook['id']}/deliveries")["items"]
        return webhook | {"delivery_id": told[0]["id"] if told else webhook["id"]}

    def for_path(self, path: str) -> dict[str, str]:
        """What its parameters are, where they name something."""
        noun = path.split("/")[2] if path.count("/") > 1 else ""
        match noun:
            case "enrollments":
                return {"id": self.one("claimed" if path.endswith("confirmation") else "enrollment")["id"]}
            case "users":
                return {"id": self.one("device")["user"]["id"]}
            case "devices":
                return {"id": self.one("device")["phone"].id}
            case "challenges":
                # The stream of one that waits goes on until its end.
                return {"id": self.one("ended_challenge" if path.endswith("events") else "challenge")["id"]}
            case "device":
                return {"id": self.one("challenge")["id"]}
            case "webhooks":
                return {name: self.one("webhook")[name] for name in ("id", "delivery_id")}
            case "api-clients":
                client = self.one("api_client")
                return {"id": client["id"], "key_id": client["keys"][0]["id"]}
            case "installations":
                return {"installation_id": "one"}
            case "policy":
                return {"name": "VPN"}
        return {"slug": "not-found"}

    def artefact(self, path: str) -> str | None:
        """What a device would send there."""
        match path.rsplit("/", 1)[1]:
            case "registrations":
                return Phone(ISSUER).registration(self.make_enrollment()["ticket"])
            case "response":
                self.one("challenge")
                phone = self.one("device")["phone"]
                pulled = ask("GET", "/v1/device/challenges", headers=proof(phone, "GET", "/v1/device/challenges"))["challenges"]
                return phone.response(pulled[0], DICE.choice(("approve", "deny"))) if pulled else None
            case "push":
                return self.one("device")["phone"].push_update()
            case "deregistration":
                return self.one("device")["phone"].deregistration()
            case "key":
                return self.one("device")["phone"].key_rotation()
        return None


def proof(phone: Phone, method: str, path: str) -> dict[str, str]:
    return {"Authorization": "DeviceProof " + phone.proof(method, path)}


STOCK = Stock()


def harmless(body: object) -> None:
    """No address but loopback; no policy that takes signed requests only."""
    if not isinstance(body, dict):
        return
    if isinstance(body.get("url"), str) and "http" in body["url"].lower():
        body["url"] = DICE.choice(ADDRESSES)
    if "client_authentication" in body and body["client_authentication"] != "any":
        body["client_authentication"] = DICE.choice(("any", "none", 7))


@schemathesis.auth()
class ApiKey:
    """So that schemathesis can leave it out, too, and see that nothing is answered then."""

    def get(self, case, context) -> str:
        return f"Bearer {UNDER_TEST['api_key']}"

    def set(self, case, data, context) -> None:
        case.headers["Authorization"] = data


@schemathesis.hook
def before_call(context, case, kwargs) -> None:
    path = case.path
    if case.path_parameters and DICE.randrange(8):
        known = STOCK.for_path(path)
        case.path_parameters = {name: known.get(name, value) for name, value in case.path_parameters.items()}
    if path.endswith("/confirmation") and isinstance(case.body, dict) and DICE.randrange(2):
        case.body["code"] = STOCK.one("claimed")["code"]
    if case.query and str(case.query.get("wait", "")).isdigit():
        case.query["wait"] = "0"
    if path.startswith("/v1/device/") or path == "/v1/device":
        if case.method.upper() == "GET" and case.headers.get("Authorization", "").startswith("Bearer") and DICE.randrange(8):
            sent = urlsplit(case.as_transport_kwargs(base_url=ISSUER)["url"]).path
            case.headers.update(proof(STOCK.one("device")["phone"], "GET", sent))
        elif case.media_type == "application/jwt" and isinstance(case.body, str):
            # As it is: schemathesis would put it in quotes.
            found = STOCK.artefact(path) if DICE.randrange(2) else None
            kwargs["data"] = (found or case.body).encode()
    harmless(case.body)


@schemathesis.hook
def after_call(context, case, response) -> None:
    if response.status_code >= 300:
        return
    if case.method.upper() == "DELETE" or ENDING.search(case.path):
        STOCK.ended()
    if case.method.upper() == "PUT" and case.path.startswith("/v1/policy"):
        ask("PUT", "/v1/policy", {"applications": {}})

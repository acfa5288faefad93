"""Verifies an audit export of countersign: written from docs/audit.md and docs/protocol.md, section 6.4, alone.

Usage: audit_verify.py EXPORT [--vkey KEY] [--checkpoint FILE]... [--without-evidence] [--from POSITION]

Prints one JSON object, `{"good", "events", "from", "verified", "erased", "deleted", "unexamined", "faults"}`, each fault
by its word of docs/audit.md, sorted; ends with status 1 if there is one, or if more is left out than is meant. Nothing of
countersign is used.
"""

import argparse
import base64
import binascii
import copy
import hashlib
import json
import sys
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

SKEW_SECONDS = 60
LONGEST_LIFE_SECONDS = 600
LATE_SECONDS = 300
TYPES = {
    "challenge": "countersign-challenge+jwt",
    "response": "countersign-response+jwt",
    "binding": "countersign-binding+jwt",
}


class Wrong(Exception):
    """What is wrong, for people."""


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def b64u(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64u(text: str) -> bytes:
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64u(data) != text:
        raise Wrong("base64url with another spelling")
    return data


def digest(text: str) -> str:
    return b64u(sha256(text.encode()))


def canonical(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# --- the tree (RFC 6962, section 2.1) -----------------------------------------------------------------

def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right)


class Tree:
    """The perfect subtrees of a tree that grows, the largest first: (how many leaves, root)."""

    def __init__(self, size: int, roots: list[bytes]) -> None:
        widths = [1 << bit for bit in range(size.bit_length() - 1, -1, -1) if size >> bit & 1]
        if len(widths) != len(roots):
            raise Wrong("as many subtrees as bits")
        self.subtrees = list(zip(widths, roots))

    def append(self, entry: bytes) -> None:
        self.subtrees.append((1, sha256(b"\x00" + entry)))
        while len(self.subtrees) > 1 and self.subtrees[-1][0] == self.subtrees[-2][0]:
            (width, right), (_, left) = self.subtrees.pop(), self.subtrees.pop()
            self.subtrees.append((2 * width, node(left, right)))

    def root(self) -> bytes:
        if not self.subtrees:
            return sha256(b"")
        root = self.subtrees[-1][1]
        for _, left in reversed(self.subtrees[:-1]):
            root = node(left, root)
        return root


# --- notes and checkpoints (C2SP signed-note, tlog-checkpoint) ------------------------------------------

class LogKey:
    def __init__(self, text: str) -> None:
        self.name, key_id, key = text.split("+", 2)
        data = base64.b64decode(key, validate=True)
        self.key_id = sha256(self.name.encode() + b"\n" + data)[:4]
        if data[:1] != b"\x01" or self.key_id.hex() != key_id:
            raise Wrong("not a verifier key")
        self.key = Ed25519PublicKey.from_public_bytes(data[1:])

    def of_same_log(self, origin: str) -> "LogKey":
        """This key under the name of another origin of the same log."""
        if origin.rpartition("/audit/")[2] != self.name.rpartition("/audit/")[2]:
            raise Wrong("of another log")
        key = copy.copy(self)
        key.name, key.key_id = origin, sha256(origin.encode() + b"\n\x01" + self.key.public_bytes_raw())[:4]
        return key

    def open(self, note: str) -> str:
        """The text of a note that this key has signed."""
        text, _, signatures = note.rpartition("\n\n")
        text, is_signed = text + "\n", False
        for line in signatures.splitlines():
            dash, name, signature = line.split(" ")
            data = base64.b64decode(signature, validate=True)
            if dash != "\u2014":
                raise Wrong("not a signature line")
            if (name, data[:4]) == (self.name, self.key_id):
                self.key.verify(data[4:], text.encode())
                is_signed = True
        if not is_signed:
            raise Wrong("not signed by this log key")
        return text

    def checkpoint(self, note: str) -> tuple[int, bytes]:
        """Size and root."""
        lines = self.open(note).split("\n")
        origin, size, root = lines[:3]
        if origin != self.name or str(int(size)) != size:
            raise Wrong("not a checkpoint of this log")
        return int(size), base64.b64decode(root, validate=True)


# --- evidence (docs/protocol.md, sections 2 and 6.4) ----------------------------------------------------

def public_key(jwk: dict) -> ec.EllipticCurvePublicKey:
    if (jwk["kty"], jwk["crv"]) != ("EC", "P-256"):
        raise Wrong("not a P-256 key")
    x, y = (int.from_bytes(unb64u(jwk[name])) for name in "xy")
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def thumbprint(jwk: dict) -> str:
    return b64u(sha256(canonical({name: jwk[name] for name in ("crv", "kty", "x", "y")})))


def read(token: str, kind: str, find) -> dict:
    """The claims of a token that the key which `find` knows by its `kid` has signed."""
    signed, _, signature = token.rpartition(".")
    header, payload = (json.loads(unb64u(part)) for part in signed.split("."))
    if set(header) != {"alg", "typ", "kid"} or (header["alg"], header["typ"]) != ("ES256", TYPES[kind]):
        raise Wrong(f"the header of the {kind}")
    jwk = find(header["kid"], payload)
    data = unb64u(signature)
    if jwk is None or thumbprint(jwk) != header["kid"] or len(data) != 64:
        raise Wrong(f"the key of the {kind}")
    der = encode_dss_signature(int.from_bytes(data[:32]), int.from_bytes(data[32:]))
    public_key(jwk).verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
    return payload


def prove(evidence: dict, jwks: dict) -> tuple[dict, dict, dict]:
    """Challenge, response and binding, which belong together."""
    def of_server(kid: str, claims: dict):
        for jwk in jwks["keys"]:
            ends = [seconds(jwk[name]) for name in ("retired_at", "revoked_at") if name in jwk]
            if jwk["kid"] == kid and all(claims["iat"] <= end for end in ends):
                return jwk
        return None

    challenge = read(evidence["challenge"], "challenge", of_server)
    binding = read(evidence["binding"], "binding", of_server)
    keys = {thumbprint(jwk): jwk for jwk in (binding["cnf"]["jwk"], binding.get("uv_jwk")) if jwk}
    used: list[str] = []

    def of_device(kid: str, _: dict):
        used.append(kid)
        return keys.get(kid)

    response = read(evidence["response"], "response", of_device)
    is_uv_key = used[0] != thumbprint(binding["cnf"]["jwk"])
    methods = challenge.get("user_verification_methods")
    must_verify = challenge["user_verification"] == "required" and response["decision"] == "approve"
    rules = {
        "issuer": binding["iss"] == challenge["iss"] == response["aud"],
        "tenant": binding["tenant"] == challenge["tenant"]["id"],
        "user": (binding["sub"], binding["external_id"]) == (challenge["sub"], challenge["user"]["external_id"]),
        "device": binding["aud"] in challenge["aud"] and response["iss"] == binding["aud"],
        "purpose": "purpose" not in binding,
        "challenge": response["sub"] == challenge["jti"],
        "text": response["challenge_sha256"] == digest(evidence["challenge"]),
        "time": challenge["iat"] - SKEW_SECONDS <= response["iat"] <= challenge["exp"] + SKEW_SECONDS,
        "binding time": binding["iat"] <= challenge["exp"],
        "user verification":
            not must_verify or is_uv_key and (methods is None or response.get("uv") in methods),
    }
    for rule, holds in rules.items():
        if not holds:
            raise Wrong(rule)
    return challenge, response, binding


def made_at(uuid: str) -> float:
    """When a UUIDv7 was made: its first 48 bits are unix milliseconds."""
    return int(uuid.replace("-", "")[:12], 16) / 1000


def moment(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def seconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp())


def compare(event: dict, evidence: dict, proven: tuple[dict, dict, dict], tenant: str) -> None:
    """Whether the event says what the evidence proves."""
    challenge, response, binding = proven
    data, mode = event["data"], challenge["verification"]["mode"]
    at, until = seconds(event["created_at"]), challenge["exp"] if mode == "display" else response["iat"]
    approves, reason = response["decision"] == "approve", data.get("reason")
    if event["type"] == "challenge.approved":
        number = {"enter": "number" in response and data.get("number") == "right", "choose": "number" in response}
        code = mode != "display" or data.get("code") == "right"
        decision = approves and reason is None and code and number.get(mode, "number" not in response)
    elif reason == "wrong_number":
        decision = approves and mode in ("enter", "choose") and data.get("number") == "wrong"
    elif reason == "wrong_code":
        decision = approves and mode == "display"
    else:
        decision = not approves and reason == response.get("reason")
    rules = {
        "tenant": challenge["tenant"]["id"] == tenant,
        "challenge": challenge["jti"] == event.get("challenge_id"),
        "user": challenge["sub"] == event.get("user_id"),
        "device": binding["aud"] == event.get("device_id"),
        "response": data.get("response_sha256") == digest(evidence["response"]),
        "time": response["iat"] - SKEW_SECONDS <= at <= until + SKEW_SECONDS,
        "decision": decision,
    }
    for rule, holds in rules.items():
        if not holds:
            raise Wrong(rule)


# --- the export ------------------------------------------------------------------------------------------

ENDS = ("challenge.approved", "challenge.denied", "challenge.expired", "challenge.cancelled")
# What an object that is not what it should be brings about, wherever it is used.
BROKEN = (Wrong, InvalidSignature, binascii.Error, KeyError, TypeError, ValueError, AttributeError, IndexError)


class Export:
    def __init__(self, header: dict, trusted: str | None, older: list[str]) -> None:
        self.header, self.key = header, LogKey(header["log_key"])
        name = self.key.name
        if header["countersign_audit_export"] != 1 or not name.endswith("/audit/" + header["tenant_id"]):
            raise Wrong("not an export")
        if trusted and LogKey(trusted).of_same_log(name).key_id != self.key.key_id:
            raise Wrong("of another log")
        self.position = header["from"] - 1
        self.tree = Tree(self.position, [base64.b64decode(root) for root in header["before"]])
        self.faults: list[str] = []
        self.counts = {"events": 0, "from": header["from"], "verified": 0, "erased": 0, "deleted": 0, "unexamined": 0}
        self.older = dict(self.key.of_same_log(note.split("\n")[0]).checkpoint(note) for note in older)
        self.is_closed = False
        self.asked: dict[str, str | None] = {}
        self.early: dict[str, str | None] = {}
        self.ended: set[str] = set()
        self.bindings: dict[str, list[str | None]] = {}
        self.bound: list[tuple[str, str]] = []
        self.newest = float("-inf")
        self.said_erased: dict[str, tuple[int, float]] = {}
        self.erased: dict[str, tuple[int, float]] = {}
        try:
            signed = {name: value for name, value in header.items() if name != "header_note"}
            wanted = f"{self.key.name}\nexport\n{b64u(sha256(canonical(signed)))}\n"
            if self.key.open(header["header_note"]) != wanted:
                raise Wrong("the header")
        except BROKEN:
            self.faults.append("keys")
        self.look_back()

    def look_back(self) -> None:
        root = self.older.pop(self.position, None)
        if root is not None and root != self.tree.root():
            self.faults.append("older_checkpoint")

    def line(self, line: str) -> None:
        try:
            value = json.loads(line)
            if self.is_closed:
                raise Wrong("a line after the checkpoint")
            if "checkpoint" in value:
                self.close(value["checkpoint"])
            else:
                self.entry(value)
        except BROKEN:
            self.faults.append("unreadable")

    def entry(self, value: dict) -> None:
        event = value["event"]
        self.tree.append(canonical(event))
        self.position += 1
        self.counts["events"] += 1
        self.look_back()
        if event["position"] != self.position:
            self.faults.append("position")
        self.follow(event, value.get("evidence"))
        if event["type"] in ENDS[:2]:
            if self.header["has_evidence"]:
                self.decision(event, value.get("evidence"), value.get("without_evidence"))
            else:
                self.counts["unexamined"] += 1
        at = moment(event["created_at"])
        self.newest = max(self.newest, at)
        if event["type"] == "user.erased":
            self.erased.setdefault(event["user_id"], (event["position"], at))

    def follow(self, event: dict, evidence: dict | None) -> None:
        kind, data, challenge = event["type"], event["data"], event.get("challenge_id")
        if kind == "challenge.created":
            self.ask(challenge, data.get("challenge_sha256"))
        elif kind in ENDS:
            self.end(challenge, digest(evidence["challenge"]) if evidence else None)
        elif kind in ("device.added", "device.key_changed"):
            self.bindings.setdefault(event["device_id"], []).append(data.get("binding_sha256"))

    def ask(self, challenge: str, text: str | None) -> None:
        if challenge in self.early:
            self.same_text(text, self.early.pop(challenge))
        elif challenge in self.ended or challenge in self.asked:
            self.faults.append("decided_twice")
        else:
            self.asked[challenge] = text

    def end(self, challenge: str, text: str | None) -> None:
        if challenge in self.ended:
            self.faults.append("decided_twice")
            return
        self.ended.add(challenge)
        if challenge in self.asked:
            self.same_text(self.asked.pop(challenge), text)
        else:
            self.early[challenge] = text

    def same_text(self, asked: str | None, answered: str | None) -> None:
        if asked and answered and asked != answered:
            self.faults.append("contradiction")

    def decision(self, event: dict, evidence: dict | None, absence: str | None) -> None:
        if evidence is None and self.may_be_absent(event, absence):
            self.counts[absence] += 1
            return
        if evidence is None or absence is not None:
            self.faults.append("evidence_missing")
            return
        try:
            proven = prove(evidence, self.header["jwks"])
        except BROKEN:
            self.faults.append("evidence_invalid")
            return
        try:
            compare(event, evidence, proven, self.header["tenant_id"])
        except BROKEN:
            self.faults.append("contradiction")
            return
        self.counts["verified"] += 1
        self.bound.append((event["device_id"], digest(evidence["binding"])))

    def may_be_absent(self, event: dict, absence: str | None) -> bool:
        made, at = made_at(event["challenge_id"]), moment(event["created_at"])
        if not made - SKEW_SECONDS <= at <= made + LONGEST_LIFE_SECONDS + SKEW_SECONDS:
            return False
        if at + LATE_SECONDS < self.newest:
            return False
        if absence == "deleted":
            return "kept_since" in self.header and made < moment(self.header["kept_since"])
        if absence == "erased":
            self.said_erased[event["user_id"]] = (event["position"], at)
            return True
        return False

    def was_erased(self, user: str, position: int, at: float) -> bool:
        place, time = self.erased.get(user, (0, float("-inf")))
        return place > position or time + SKEW_SECONDS >= at

    def close(self, note: str) -> None:
        self.is_closed = True
        try:
            size, root = self.key.checkpoint(note)
        except BROKEN:
            self.faults.append("checkpoint")
            return
        if (size, root) != (self.position, self.tree.root()):
            self.faults.append("tree")

    def finish(self, without_evidence: bool, begins_at: int) -> dict:
        is_meant = self.counts["from"] == begins_at and (without_evidence or not self.counts["unexamined"])
        if not self.is_closed:
            self.faults.append("broken_off")
        self.faults += ["older_checkpoint"] * len(self.older)
        if self.header["from"] == 1:
            self.faults += ["never_asked"] * len(self.early)
        for device, binding in self.bound:
            known = self.bindings.get(device)
            if not (self.header["from"] > 1 if known is None else None in known or binding in known):
                self.faults.append("unknown_binding")
        self.faults += ["erased_without_event" for user, said in self.said_erased.items()
                        if not self.was_erased(user, *said)]
        return {"good": not self.faults and is_meant, **self.counts, "faults": sorted(self.faults)}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("export", type=Path)
    parser.add_argument("--vkey")
    parser.add_argument("--checkpoint", type=Path, action="append", default=[])
    parser.add_argument("--without-evidence", action="store_true")
    parser.add_argument("--from", type=int, default=1, dest="begins_at")
    arguments = parser.parse_args()
    with arguments.export.open(encoding="utf-8", newline="\n") as lines:
        older = [path.read_text(encoding="utf-8") for path in arguments.checkpoint]
        export = Export(json.loads(next(lines)), arguments.vkey, older)
        for line in lines:
            export.line(line)
    report = export.finish(arguments.without_evidence, arguments.begins_at)
    print(json.dumps(report))
    return 0 if report["good"] else 1


if __name__ == "__main__":
    sys.exit(main())

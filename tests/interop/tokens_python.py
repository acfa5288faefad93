"""joserfc judges spoilt tokens, and its verdicts, those of jose (tokens_node.js) and our own are compared.

Usage: tokens_python.py TOKENS.jsonl NODE: what `countersign-proof tokens` wrote, and what tokens_node.js said of it. Never
may ours accept what both others refuse. Where ours refuses what both accept it is stricter: that is shown by class, and
each class must be one of those whose reason is written here.
"""

import json
import sys
from collections import Counter
from pathlib import Path

from joserfc import jws
from joserfc.jwk import ECKey

from checks import Checks, unb64u

CHECKS = Checks("joserfc and jose")
# What ours refuses though two libraries read it, and why (docs/protocol.md, section 2).
STRICTER = {
    "header: a member twice, or one more": "rule 2: a header has the members of its kind, each once; two readers could take two",
    "header: another member": "rule 2",
    "header: crit": "rule 2",
    "header: b64": "rule 2",
    "header: an address of keys": "rule 2: a token never says where its key is found",
    "header: a certificate": "rule 2",
    "header: another jwk": "rule 2: kinds that name a key by kid carry none",
    "header: another kid": "rule 2: kinds that carry their key name no other",
    "header: another key": "rule 2, and a jwk has kty, crv, x and y only: one key has one spelling",
    "header: no object": "no JSON that readers disagree about: a byte order mark, nesting without end",
    "payload: a member twice": "readers disagree about which of the two counts",
    "payload: a member twice within": "the same",
    "payload: too deep": "16 levels: nothing of ours has more",
    "payload: too long": "rule 1: 8 KiB from devices, 16 KiB from the server",
    "payload: a byte order mark": "no JSON (RFC 8259, section 8.1)",
    "payload: half a character": "no text that can be stored",
    "payload: a number beyond all": "no number that two readers agree about",
    "payload: UTF-16": "JSON is UTF-8 (RFC 8259, section 8.1)",
    "payload: no JSON": "NaN and Infinity are no JSON",
    "base64: padded": "rule 1: every byte string has one spelling",
    "base64: padded where none is due": "the same",
    "base64: other last bits": "the same",
    "base64: the other alphabet": "the same",
    "base64: white space within": "the same",
    "text: white space around": "rule 1: a token is its three parts",
    "text: something around": "rule 1",
    "text: a byte more": "the same",
}
KEYS: dict[str, ECKey] = {}


def key_of(jwk: dict) -> ECKey:
    name = json.dumps(jwk, sort_keys=True)
    if name not in KEYS:
        KEYS[name] = ECKey.import_key(jwk)
    return KEYS[name]


def accepts(line: dict) -> bool:
    """The library's judgement of ES256 with a given key, then what any verifier would look at."""
    def find(token: jws.CompactSignature):
        header = token.headers()
        if line["names"] == "jwk":
            return key_of(header["jwk"])
        known = key_of(line["jwk"])
        if header["kid"] != known.thumbprint():
            raise ValueError("an unknown key")
        return known

    try:
        token = jws.deserialize_compact(unb64u(line["token"]), find, algorithms=["ES256"])
        return token.headers()["typ"] == line["typ"] and isinstance(json.loads(token.payload), dict)
    except Exception:  # whatever a library raises for what a stranger sends, it has not accepted it
        return False


def main(tokens: str, node: str) -> None:
    lines = [json.loads(line) for line in Path(tokens).read_text().splitlines()]
    by_node = [verdict == "1" for verdict in Path(node).read_text()]
    CHECKS.equal("each token was judged", len(by_node), len(lines))
    by_python = [accepts(line) for line in lines]
    looser, one_refuses, stricter, honest = [], Counter(), Counter(), Counter()
    for line, python, node in zip(lines, by_python, by_node):
        ours, name = line["accepted"], line["class"]
        if name == "honest":
            honest[(ours, python, node)] += 1
        if ours and not python and not node:
            looser.append(line)
        elif ours and not (python and node):
            one_refuses[f"{name} ({'jose' if python else 'joserfc'} refuses)"] += 1
        elif not ours and python and node:
            stricter[name] += 1
    CHECKS.equal("all three accept what is honest", set(honest), {(True, True, True)})
    CHECKS.equal(f"of {len(lines)} tokens none is accepted by us and refused by both", looser[:3], [])
    CHECKS.that("each of the two refuses what is spoilt", sum(by_python) < len(lines) / 2 and sum(by_node) < len(lines) / 2)
    CHECKS.equal("where we alone refuse, the reason is written down", {name for name in stricter if name not in STRICTER}, set())
    print(f"tokens: {len(lines)} judged; accepted: by us {sum(line['accepted'] for line in lines)}, by joserfc "
          f"{sum(by_python)}, by jose {sum(by_node)}")
    print(f"tokens: accepted by us and one other: {dict(one_refuses)}")
    for name, count in sorted(stricter.items()):
        print(f"tokens: refused by us alone: {count:6} {name}: {STRICTER[name]}")


if __name__ == "__main__":
    main(*sys.argv[1:])

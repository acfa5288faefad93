"""A verifier that shares nothing with the server but a page of documentation agrees with it: on a good export, and on
each of many that were spoilt.

Usage: audit_python.py COUNTERSIGN FOLDER: the server's program, and an empty folder of its own.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from checks import DEADLINE_SECONDS, Checks
from server import Server

CHECKS = Checks("audit_verify.py")
VERIFIER = Path(__file__).with_name("audit_verify.py")
SPOILT = 60


def live(server: Server) -> None:
    """One approved sign-in, one denied, one with the wrong number."""
    server.enroll({"external_id": "ada"}, {"channel": "none"})
    for answer in ("approve", "deny", "wrong"):
        body = {"user": {"external_id": "ada"}, "verification": {"mode": "enter"}, "ttl_seconds": 300}
        challenge = server.call("/v1/challenges", body)
        number = challenge["number"] if answer == "approve" else challenge["number"].translate(
            str.maketrans("0123456789", "1234567890"))
        arguments = ("deny",) if answer == "deny" else ("approve",)
        further = () if answer == "deny" else ("--number", number)
        server.command("device", *arguments, challenge["id"], *further, succeeds=answer != "wrong")


def ours(server: Server, file: Path, *arguments: str) -> dict:
    command = [server.program, "--json", "audit", "verify", str(file), *arguments]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=DEADLINE_SECONDS)
    if not done.stdout:
        return {"good": False, "refused": True}
    report = json.loads(done.stdout)
    faults = sorted(finding["fault"] for finding in report["findings"])
    return {"good": report["good"], "events": report["events"], "from": report["from"], **report["decisions"], "faults": faults}


def theirs(file: Path, *arguments: str) -> dict:
    command = [sys.executable, str(VERIFIER), str(file), *arguments]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=DEADLINE_SECONDS)
    return json.loads(done.stdout) if done.stdout else {"good": False, "refused": True}


def integrity(report: dict) -> set[str]:
    return set(report.get("faults", [])) & {"tree", "checkpoint", "broken_off", "older_checkpoint", "keys"}


def spoil(dice: random.Random, lines: list[str]) -> list[str]:
    """One edit, deletion or insertion, anywhere but in the header."""
    at = dice.randrange(1, len(lines))
    deed = dice.randrange(6)
    if deed == 0:
        return lines[:at] + lines[at + 1:]
    if deed == 1:
        return lines[:at] + [lines[at]] + lines[at:]
    if deed == 2:
        return lines[:at]
    if deed == 3 and at + 1 < len(lines):
        return lines[:at] + [lines[at + 1], lines[at]] + lines[at + 2:]
    # A character that is one in each line, for another one.
    line = lines[at]
    places = [place for place, letter in enumerate(line) if letter.isalnum()]
    place = dice.choice(places)
    letter = dice.choice([one for one in "abcXYZ0189" if one != line[place]])
    return lines[:at] + [line[:place] + letter + line[place + 1:]] + lines[at + 1:]


def main() -> None:
    program, folder = sys.argv[1], Path(sys.argv[2])
    with Server(program, folder, "") as server:
        # The commands are to speak for the server at the port that it has got.
        os.environ["COUNTERSIGN__SERVER__PUBLIC_URL"] = server.issuer
        early = server.command("audit", "checkpoint")["checkpoint"]
        live(server)
        export, old = folder / "audit.jsonl", folder / "old.checkpoint"
        server.command("audit", "export", "--evidence", "--output", str(export))
        old.write_text(early, encoding="utf-8")
        key = server.command("audit", "show")["verifier_key"]
        arguments = ("--vkey", key, "--checkpoint", str(old))

        good = theirs(export, *arguments)
        CHECKS.equal("a good export verifies, with all three decisions", (good["good"], good["verified"]), (True, 3))
        CHECKS.equal("the server's own verifier says the same", ours(server, export, *arguments), good)
        live_report = server.command("audit", "verify")
        CHECKS.that("and so does the live database", live_report["good"], live_report)

        lines = export.read_text(encoding="utf-8").splitlines()
        part = folder / "spoilt.jsonl"
        dice = random.Random(20_261_122)
        for number in range(SPOILT):
            part.write_text("".join(line + "\n" for line in spoil(dice, lines)), encoding="utf-8")
            mine, yours = ours(server, part, *arguments), theirs(part, *arguments)
            # How much of a spoilt event can still be read is for each to say; whether the log is the signed one is not.
            agree = integrity(mine) == integrity(yours)
            if mine["good"] or yours["good"] or not agree:
                CHECKS.that(f"spoilt export {number} is noticed by both alike", False, (mine, yours))
        CHECKS.that(f"{SPOILT} spoilt exports are noticed by both alike", True)

        bare = folder / "bare.jsonl"
        server.command("audit", "export", "--output", str(bare))
        for further, is_good in (((), False), (("--without-evidence",), True)):
            mine, yours = ours(server, bare, *arguments, *further), theirs(bare, *arguments, *further)
            CHECKS.equal("an export without evidence is told to be one by both, unless that is meant",
                         (mine, mine["good"], mine["unexamined"]), (yours, is_good, 3))
        header = json.loads(lines[0])
        for name, value in (("has_evidence", False), ("kept_since", "2100-01-01T00:00:00Z"), ("issuer", "https://x")):
            part.write_text("\n".join([json.dumps({**header, name: value}), *lines[1:]]) + "\n", encoding="utf-8")
            both = ours(server, part, *arguments), theirs(part, *arguments)
            CHECKS.that(f"nobody but the log key says what {name} is", all("keys" in one["faults"] for one in both), both)
        later = folder / "later.jsonl"
        server.command("audit", "export", "--evidence", "--from", "3", "--output", str(later))
        for further, is_good in (((), False), (("--from", "3"), True)):
            mine, yours = ours(server, later, "--vkey", key, *further), theirs(later, "--vkey", key, *further)
            CHECKS.equal("a part of the log is told to be one by both, unless that is meant", (mine, mine["good"]),
                         (yours, is_good))

        # An older log that claims to be this one: what was kept elsewhere is longer.
        newest = folder / "new.checkpoint"
        server.call("/v1/challenges", {"user": {"external_id": "ada"}})
        newest.write_text(server.command("audit", "checkpoint")["checkpoint"], encoding="utf-8")
        behind = ("--checkpoint", str(newest))
        CHECKS.equal("a log that is shorter than a kept checkpoint is noticed by both",
                     (ours(server, export, *behind)["faults"], theirs(export, *behind)["faults"]),
                     (["older_checkpoint"], ["older_checkpoint"]))
        stranger = key.replace("+", "x+", 1)
        CHECKS.that("an export of another log than the trusted one is refused by both",
                    not ours(server, export, "--vkey", stranger)["good"] and not theirs(export, "--vkey", stranger)["good"])


if __name__ == "__main__":
    main()

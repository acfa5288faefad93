"""The real server as a child of the program that checks it, and the commands and calls of its API.

It uses a database, keys and devices in a folder of its own, and ends with the `with`.
"""

import json
import subprocess
import time
import urllib.request
from pathlib import Path

from checks import DEADLINE_SECONDS, StandIn

# How often its log is looked at until it is ready.
POLL_SECONDS = 0.05


class Server:
    """`countersign serve` with the given `[push]` settings, as TOML."""

    def __init__(self, program: str, folder: Path, push_settings: str) -> None:
        self.program, self.folder = program, folder
        self.settings, self.log_file = folder / "countersign.toml", folder / "server.log"
        self.settings.write_text(
            f'[server]\nlisten = "127.0.0.1:0"\n[metrics]\nlisten = ""\n[log]\nformat = "json"\n'
            f'[database]\nurl = "sqlite://{folder}/data/countersign.db"\n{push_settings}')
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.issuer = self.api_key = ""

    def __enter__(self) -> "Server":
        with self.log_file.open("wb") as log:
            command = [self.program, "--config", str(self.settings), "serve"]
            self.process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
        try:
            self.issuer = self._wait_until_ready()
            scopes = "enrollments,challenges,devices:read"
            created = self.command("api-client", "create", "--name", "canary-client", "--scopes", scopes)
            self.api_key = created["api_key"]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait_until_ready(self) -> str:
        """The issuer that it announces."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in self.log_file.read_text().splitlines():
                # The last line may be half written.
                if '"message":"ready"' in line and line.endswith("}"):
                    return json.loads(line)["issuer"]
            time.sleep(POLL_SECONDS)
        raise RuntimeError(f"the server did not start:\n{self.log_file.read_text()}")

    def command(self, *arguments: str, succeeds: bool = True) -> dict:
        """What one of its commands prints with --json."""
        command = [self.program, "--config", str(self.settings), "--json", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_SECONDS)
        if (done.returncode == 0) != succeeds:
            raise RuntimeError(f"{arguments}: status {done.returncode}: {done.stderr.decode()}")
        return json.loads(done.stdout)

    def call(self, path: str, body: dict | None = None) -> dict:
        """One call of the API: POST with a body, GET without."""
        headers = {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.issuer + path, data, headers)
        with self.opener.open(request, timeout=DEADLINE_SECONDS) as reply:
            return json.load(reply)

    def enroll(self, user: dict, push: dict, succeeds: bool = True) -> dict:
        """A command-line device of `user` that is rung as `push` says; active when this returns."""
        enrollment = self.call("/v1/enrollments", {"user": user})
        arguments = ("device", "enroll", enrollment["enrollment_uri"], "--push", json.dumps(push))
        device = self.command(*arguments, succeeds=succeeds)
        if succeeds:
            code = {"code": device["confirmation_code"]}
            self.call(f"/v1/enrollments/{enrollment['id']}/confirmation", code)
        return device


def push_settings(folder: Path, ca_pems: list[str], ports: list[int], apns: StandIn, fcm: StandIn) -> str:
    """The `[push]` settings for these providers, with Web Push to these ports of loopback."""
    ca_file = folder / "providers.pem"
    ca_file.write_text("".join(ca_pems))
    return f"""[push]
extra_ca_file = "{ca_file}"
[push.webpush]
contact = "mailto:operator@example.org"
additional_ports = {ports}
additional_networks = ["127.0.0.0/8"]
extra_ca_file = "{ca_file}"
[push.apns.stand-in]
key_file = "{apns.ready['key_file']}"
key_id = "{apns.ready['key_id']}"
team_id = "{apns.ready['team_id']}"
topic = "{apns.ready['topics'][0]}"
environment = "sandbox"
base_url = "{apns.base_url}"
[push.fcm.stand-in]
service_account_file = "{fcm.ready['service_account_file']}"
base_url = "{fcm.base_url}"
"""

"""schemathesis reads the server's own OpenAPI document, and holds the server to it.

Usage: openapi_schemathesis.py COUNTERSIGN FOLDER [EXAMPLES [SEED]]: the server's program, an empty folder of its own, and
how many requests are generated for each operation beside those that its schema's edges ask for. Whatever is sent, no
answer is a 5xx, of a status, media type, header or shape that the document does not name; and no request is a panic or an
error of the log. openapi_hooks.py puts real objects in the way.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from checks import Checks
from server import Server

CHECKS = Checks("schemathesis")
HERE = Path(__file__).parent
SETTINGS = """[webhooks]
additional_ports = [9]
additional_networks = ["127.0.0.0/8"]
"""
JUDGED = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
          "response_schema_conformance", "unsupported_method", "allow_header_conformance", "ignored_auth")
PATIENCE_SECONDS = 4 * 3_600


def generate(server: Server, folder: Path, examples: int, seed: int) -> None:
    under_test = {"issuer": server.issuer, "api_key": server.api_key, "seed": seed}
    environment = os.environ | {
        "COUNTERSIGN_UNDER_TEST": json.dumps(under_test), "SCHEMATHESIS_HOOKS": "openapi_hooks",
        "PYTHONPATH": str(HERE), "NO_PROXY": "127.0.0.1"}
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", server.issuer + "/openapi.json", "--no-color",
        "--checks", ",".join(JUDGED),
        "--phases", "examples,coverage,fuzzing", "--max-examples", str(examples), "--seed", str(seed),
        "--generation-database", "none", "--no-shrink", "--suppress-health-check", "all", "--warnings", "off",
        "--continue-on-failure", "--workers", "1", "--request-timeout", "30"]
    done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, timeout=PATIENCE_SECONDS)
    CHECKS.equal("whatever is sent, the server keeps to its document", done.returncode, 0)


def checks_log(server: Server) -> None:
    records = [json.loads(line) for line in server.log_file.read_text().splitlines()]
    CHECKS.equal("and its log holds no error", [record for record in records if record["level"] == "ERROR"], [])
    CHECKS.that("for many requests", sum(record["message"] == "request" for record in records) > 1_000)
    CHECKS.that("it runs on", "id" in server.call("/v1/tenant"))


def main(program: str, folder: str, examples: str = "5", seed: str = "1") -> None:
    # So that the server is ended, too, when this program is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Server(program, Path(folder), SETTINGS) as server:
        server.api_key = server.command("api-client", "create", "--name", "tester", "--scopes", "admin")["api_key"]
        generate(server, Path(folder), int(examples), int(seed))
        checks_log(server)


if __name__ == "__main__":
    main(*sys.argv[1:])

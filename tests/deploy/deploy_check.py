"""Runs what deploy/ and docker-compose.yml say, without a container engine, up to the approval by simulated phones.

Usage: deploy_check.py FOLDER BUILT [--build]: an empty folder, cargo's folder of debug programs; --build: compile by
the Dockerfile's own steps instead. Started by scripts/deploy-check.sh, which cleans up.
Must never listen or connect beyond 127.0.0.1, signal anything but its own children, or call something tried that was
not.
"""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import image
from checks import DEADLINE_SECONDS, not_tried, that
from compose import Compose
from container import Container, Running

ROOT = Path(__file__).resolve().parents[2]


def check_bare_image(root: Path, stage) -> None:
    """The image as it is, before anything is mounted."""
    container = Container(name="bare", root=root, workdir=stage.last("WORKDIR"))
    code, said = container.run([stage.command("ENTRYPOINT")[0], "--version"])
    that(f"the image's program runs on its own libraries: {said.strip()}", code == 0, said)
    code, said = container.run(stage.command("ENTRYPOINT") + stage.command("CMD"))
    that("without settings it does not start, and says so in one line",
         code == 1 and len(said.strip().split("\n")) == 1 and "countersign.toml" in said, said)
    code, said = container.run(["/bin/sh", "-c", "true"])
    that("there is nothing to run a shell with", code != 0, said)


def check_systemd(built: Path) -> None:
    """The unit, as far as it can be judged without an init system."""
    if not shutil.which("systemd-analyze"):
        not_tried("systemd-analyze is not on this machine")
        return
    unit = ROOT / "deploy/systemd/countersign.service"
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=12", str(unit)],
                          capture_output=True, text=True)
    level = re.search(r"exposure level for .*: (.*)", done.stdout)
    that(f"systemd's exposure level is at most 1.2: {level[1] if level else 'unknown'}", done.returncode == 0,
         done.stdout + done.stderr)
    folder = Path(sys.argv[1]) / "unit"
    folder.mkdir()
    (folder / unit.name).write_text(unit.read_text().replace("/usr/local/bin/countersign", f"{built}/countersign"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(folder / unit.name)],
                          capture_output=True, text=True)
    complaints = [line for line in done.stderr.split("\n") if unit.name in line]
    that("systemd takes the unit as it is", not complaints, complaints)

    # Its settings, with a folder in place of the credentials' one.
    environment = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit.read_text(), re.MULTILINE))
    loaded = re.findall(r"^LoadCredential=([^:]+):", unit.read_text(), re.MULTILINE)
    that("every credential is used", sorted(value.removeprefix("%d/") for value in environment.values()) ==
         sorted(loaded), loaded)
    for name in loaded:
        (folder / name).write_text("x")
        (folder / name).chmod(0o600)
    environment = {name: value.replace("%d", str(folder)) for name, value in environment.items()}
    done = subprocess.run([built / "countersign", "--config", ROOT / "deploy/countersign.toml", "config", "check"],
                          env=environment, capture_output=True, text=True)
    that("the unit's environment and deploy/countersign.toml are valid settings", done.returncode == 0, done.stderr)


def postgres_path() -> str:
    """Where this machine's PostgreSQL is: 15, or else the newest."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    folder = next((folder for folder in folders if folder.parent.name == "15"), folders[-1])
    if folder.parent.name != "15":
        not_tried(f"PostgreSQL 15: this machine has {folder.parent.name}")
    return f"{folder}:/usr/bin:/bin"


class Trial:
    """The services, started in their order; whatever ends this, they end too."""

    def __init__(self, compose: Compose) -> None:
        self.compose = compose
        self.running: dict[str, Running] = {}
        self.postgres = postgres_path()

    def container(self, name: str) -> Container:
        if name != "postgres":
            return self.compose.container(name)
        container = self.compose.container(name, self.postgres)
        # initdb wants a name for the number; the image's entry point makes one up, too.
        users = self.compose.folder / "passwd"
        users.write_text(f"postgres:x:{container.user}:{container.user}::/:/nonexistent\n")
        container.mounts.append(("/etc/passwd", users, True))
        return container

    def up(self) -> None:
        services = self.compose.services
        for name in self.compose.order():
            if name == "demo":
                continue
            for other, wanted in services[name].get("depends_on", {}).items():
                if wanted["condition"] == "service_healthy":
                    self.wait_until_healthy(other)
            if any(service.get("depends_on", {}).get(name, {}).get("condition") == "service_completed_successfully"
                   for service in services.values()):
                code, said = self.container(name).run(self.compose.command(name))
                that(f"{name}: done", code == 0, said)
                continue
            if name == "postgres":
                self.prepare_cluster()
            self.start(name)

    def start(self, name: str) -> None:
        log = self.compose.folder / "logs" / name
        running = self.running[name] = self.container(name).start(self.compose.command(name), log=log)
        if running.pid is None:
            that(f"{name}: starts", False, running.said())

    def prepare_cluster(self) -> None:
        """What the entry point of PostgreSQL's image does with an empty volume."""
        container = self.container("postgres")
        of = container.environment
        initdb = ["initdb", f"--pgdata={of['PGDATA']}", f"--username={of['POSTGRES_USER']}",
                  f"--pwfile={of['POSTGRES_PASSWORD_FILE']}", *of["POSTGRES_INITDB_ARGS"].split(),
                  # Of the empty cluster only, not of its commits.
                  "--no-sync"]
        code, said = container.run(initdb)
        that("postgres: a cluster is made", code == 0, said)
        code, said = container.run(["postgres", "--single", "-D", of["PGDATA"], "postgres"],
                                   f'CREATE DATABASE "{of["POSTGRES_DB"]}";\n'.encode())
        that("postgres: with a database", code == 0, said)
        cluster = self.compose.folder / "volumes/database" / Path(of["PGDATA"]).name
        with (cluster / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")

    def wait_until_healthy(self, name: str) -> None:
        running, container = self.running[name], self.container(name)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            code, said = container.run(self.compose.health(name))
            if code == 0:
                break
            if running.has_ended() or time.monotonic() > deadline:
                that(f"{name}: becomes healthy", False, said + running.said())
            time.sleep(0.1)
        if not hasattr(running, "is_known"):
            running.is_known = True
            self.check_confinement(name)

    def check_confinement(self, name: str) -> None:
        """What the kernel says of the running program."""
        running = self.running[name]
        status = running.status()
        bare = {key: status[key] for key in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs")}
        holds = all(int(bare[key], 16) == 0 for key in ("CapEff", "CapPrm", "CapBnd")) and bare["NoNewPrivs"] == "1"
        that(f"{name}: healthy; no capability, no new privileges, a read-only root",
             holds and running.has_read_only_root(), bare)

    def demo(self) -> str:
        code, said = self.container("demo").run(self.compose.command("demo"))
        logs = {name: running.said()[-2_000:] for name, running in self.running.items()} if code else {}
        that("demo: its exit code is 0", code == 0, (said, logs))
        that("demo: three phones were rung, and one approved",
             all(word in said for word in ("rung by apns", "rung by fcm", "rung by webpush", "recorded: approved")),
             said)
        return said

    def without_a_node(self) -> None:
        """One node leaves: it ends well, its health check says so, and sign-ins go on at the other."""
        stage, running = self.compose.stage("server-1"), self.running["server-1"]
        how = getattr(signal, stage.last("STOPSIGNAL"))
        grace = int(self.compose.services["server-1"]["stop_grace_period"].removesuffix("s"))
        began = time.monotonic()
        code = running.stop(how, grace)
        that(f"server-1: ends well {time.monotonic() - began:.1f} s after {how.name}, of {grace} s", code == 0,
             (code, running.said()[-2_000:]))
        code, said = self.container("server-1").run(self.compose.health("server-1"))
        that(f"server-1: its health check says: {said.strip()}", code == 1 and len(said.strip().split("\n")) == 1, said)
        self.demo()

    def down(self) -> None:
        """The last one first."""
        for running in reversed(list(self.running.values())):
            if not running.has_ended():
                running.stop(signal.SIGTERM, 5)


def main() -> None:
    folder, built = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    whole = "--build" in sys.argv[3:]
    stages = image.check_dockerfile(ROOT)
    images = image.build(ROOT, stages, folder, None if whole else built)
    check_bare_image(images["countersign"], stages["countersign"])
    check_systemd(built)
    compose = Compose(ROOT, folder, images, stages)
    compose.check()
    trial = Trial(compose)
    try:
        trial.up()
        print(trial.demo(), flush=True)
        trial.without_a_node()
    finally:
        trial.down()
    not_tried("a container engine: the images of PostgreSQL and HAProxy, networks and their names, limits of memory "
              "and processors, ownership of new volumes")
    if not whole:
        not_tried("the Dockerfile's compiling steps (scripts/deploy-check.sh --build does)")
    print("deploy: everything that was tried holds")


if __name__ == "__main__":
    main()

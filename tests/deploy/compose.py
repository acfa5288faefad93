"""docker-compose.yml: what must hold in it, and its services as containers without an engine.

Every service runs with the command, environment, user, volumes, tmpfs and health check that the file gives it. What is
changed is said: a name and a port, or a network, become a free port of 127.0.0.1.
"""

import re
import socket
from pathlib import Path

import yaml
from checks import that
from container import Container
from dockerfile import Stage

SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|API_KEY|PRIVATE")
# Who listens where, as the file and the configurations say.
PORTS = {"postgres": [5432], "apns": [8443, 8081], "fcm": [8443, 8081], "webpush": [8443, 8081],
         "server-1": [8080, 9464], "server-2": [8080, 9464], "proxy": [8443]}
ALIASES = {"countersign.localhost": "proxy"}
SETTINGS = "/etc/countersign/countersign.toml"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Compose:
    """The file, and where its services are on this machine."""

    def __init__(self, root: Path, folder: Path, images: dict[str, Path], stages: dict[str, Stage]) -> None:
        self.root, self.folder, self.images, self.stages = root, folder, images, stages
        text = (root / "docker-compose.yml").read_text()
        that("nothing in docker-compose.yml depends on the caller's environment", "${" not in text)
        self.file = yaml.safe_load(text)
        self.services: dict[str, dict] = self.file["services"]
        self.ports = {(name, port): free_port() for name, ports in PORTS.items() for port in ports}
        for volume in self.file["volumes"]:
            (folder / "volumes" / volume).mkdir(parents=True)
        (folder / "logs").mkdir()

    def check(self) -> None:
        """What can be judged by reading."""
        for name, service in self.services.items():
            user = str(service.get("user", ""))
            is_contained = (
                service.get("read_only") is True and service.get("cap_drop") == ["ALL"] and not service.get("cap_add")
                and "no-new-privileges:true" in service.get("security_opt", []) and not service.get("privileged")
                and re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) is not None
                and all(service.get(limit) for limit in ("pids_limit", "mem_limit", "cpus")))
            that(f"{name}: read-only, no capabilities, no new privileges, a numeric user, limits", is_contained,
                 service)
            told = [variable for variable, value in service.get("environment", {}).items()
                    if SECRET.search(variable) and not str(value).startswith("/")]
            that(f"{name}: no secret is in its environment", not told, told)
        networks = {name: set(service.get("networks", [])) for name, service in self.services.items()}
        that("the proxy and the database share no network", not networks["proxy"] & networks["postgres"], networks)
        internal = {name for name, network in self.file["networks"].items() if (network or {}).get("internal")}
        that("only the proxy's network leads out", set(self.file["networks"]) - internal == {"edge"}, internal)
        published = {name: service["ports"] for name, service in self.services.items() if "ports" in service}
        that("only the proxy is published, on loopback", published == {"proxy": ["127.0.0.1:8443:8443"]}, published)
        images = {service["image"] for service in self.services.values()}
        that("no image is whatever is newest", not any(image.endswith(":latest") or ":" not in image
                                                       for image in images), images)
        for name in ("server-1", "server-2"):
            grace = int(self.services[name]["stop_grace_period"].removesuffix("s"))
            that(f"{name}: has {grace} s to drain and stop", grace > 15, grace)

    def order(self) -> list[str]:
        """Dependencies first."""
        ordered: list[str] = []

        def visit(name: str) -> None:
            for other in self.services[name].get("depends_on", {}):
                visit(other)
            if name not in ordered:
                ordered.append(name)

        for name in self.services:
            visit(name)
        return ordered

    def stage(self, name: str) -> Stage | None:
        """Of which of our images a service is."""
        target = self.services[name].get("build", {}).get("target")
        return self.stages[target] if target else None

    def local(self, service: str, text: str) -> str:
        """With addresses of this machine."""
        text = re.sub(r"(?:0\.0\.0\.0|127\.0\.0\.1):(\d+)", lambda found: self._own(service, found), text)
        for (name, port), local in self.ports.items():
            for host in (name, *(alias for alias, target in ALIASES.items() if target == name)):
                text = re.sub(rf"(?<![\w.-]){re.escape(host)}:{port}(?!\d)", f"127.0.0.1:{local}", text)
        text = re.sub(r"10\.89\.24\d\.0/24", "127.0.0.0/8", text)
        text = text.replace("10.89.241.10", "127.0.0.1")
        return text.replace("[8443]", f"[{self.ports['webpush', 8443]}]")

    def _own(self, service: str, found: re.Match) -> str:
        local = self.ports.get((service, int(found[1])))
        return f"127.0.0.1:{local}" if local else found[0]

    def local_command(self, service: str, command: list[str]) -> list[str]:
        """A command with addresses of this machine."""
        changed: list[str] = []
        listens = "--listen" in command
        for word in map(str, command):
            before = changed[-1] if changed else ""
            if before in ("--port", "--control-port"):
                word = str(self.ports[service, int(word)])
            elif match := re.fullmatch(r"--port=(\d+)", word):
                word = f"--port={self.ports[service, int(match[1])]}"
            elif before == "--listen" or (before == "--host" and listens):
                word = "127.0.0.1"
            changed.append(self.local(service, word))
        return changed

    def command(self, name: str) -> list[str]:
        """What the engine would start: the entry point and the command, of the file or else of the image."""
        service, stage = self.services[name], self.stage(name)
        entrypoint = service.get("entrypoint") or (stage.command("ENTRYPOINT") if stage else [])
        command = service.get("command") or (stage.command("CMD") if stage and "entrypoint" not in service else [])
        command = self.local_command(name, [*entrypoint, *command])
        if name == "postgres":
            # The image listens everywhere by a setting of its own.
            command += ["-c", "listen_addresses=127.0.0.1", "-c", f"port={self.ports[name, 5432]}"]
        return command

    def health(self, name: str) -> list[str]:
        """The health check of the file, or else of the image; empty: none."""
        test = self.services[name].get("healthcheck", {}).get("test")
        if test:
            return self.local_command(name, test[1:])
        stage = self.stage(name)
        return stage.command("HEALTHCHECK") if stage else []

    def container(self, name: str, path: str | None = None) -> Container:
        """The service's container. `path`: where programs are, for an image that is not at hand."""
        service, stage = self.services[name], self.stage(name)
        environment = {key: self.local(name, str(value)) for key, value in service.get("environment", {}).items()}
        if name.startswith("server-"):
            environment["COUNTERSIGN__SERVER__LISTEN"] = f"127.0.0.1:{self.ports[name, 8080]}"
            environment["COUNTERSIGN__METRICS__LISTEN"] = f"127.0.0.1:{self.ports[name, 9464]}"
        if path:
            environment["PATH"] = path
        return Container(
            name=name, root=self.images[stage.name] if stage else None,
            user=int(str(service["user"]).split(":")[0]), environment=environment,
            mounts=[self._mount(name, volume) for volume in service.get("volumes", [])],
            tmpfs=[place.split(":")[0] for place in service.get("tmpfs", [])],
            workdir=(stage.last("WORKDIR") if stage else None) or "/",
            open_files=service.get("ulimits", {}).get("nofile"))

    def _mount(self, name: str, volume: str) -> tuple[str, Path, bool]:
        source, target, *mode = volume.split(":")
        if not source.startswith("."):
            return target, self.folder / "volumes" / source, mode == ["ro"]
        given = self.root / source
        if target == SETTINGS:
            return target, given, mode == ["ro"]
        changed = self.folder / f"{name}-{given.name}"
        text = self.local(name, given.read_text())
        changed.write_text(re.sub(r"bind :(\d+)", lambda found: f"bind 127.0.0.1:{self.ports[name, int(found[1])]}",
                                  text))
        return target, changed, mode == ["ro"]

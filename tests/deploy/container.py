"""A container without an engine: bubblewrap's namespaces around a program, as the compose file describes them.

As in a container: the root file system of the image, read-only; only the volumes and tmpfs that are named; the numeric
user; no capabilities, no new privileges; its own process ids, and only the environment that is given. Unlike one: the
network is this machine's, so addresses are changed to free ports of 127.0.0.1 by the caller; memory and processors are
not limited; the user is a mapped one.

Must never outlive this program (--die-with-parent) nor signal anything but its own child.
"""

import json
import os
import resource
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from checks import DEADLINE_SECONDS

# Of every image that brings no own one.
ENGINE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Container:
    """What is needed to run programs in it."""

    name: str
    # None: this machine's own root, for programs of its packages.
    root: Path | None
    user: int = 65532
    environment: dict[str, str] = field(default_factory=dict)
    # Where in it, what of this machine, whether read-only.
    mounts: list[tuple[str, Path, bool]] = field(default_factory=list)
    tmpfs: list[str] = field(default_factory=list)
    workdir: str = "/"
    open_files: int | None = None
    folder: Path = Path("/")

    def _base(self) -> list[str]:
        """The root, and the places where mounts go, which an engine makes too."""
        if self.root is not None:
            for place, source, _ in self.mounts:
                make_place(self.root / place.lstrip("/"), source)
            for place in [*self.tmpfs, "/proc", "/dev"]:
                (self.root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
            return ["--ro-bind", str(self.root), "/"]
        arguments = []
        for entry in sorted(Path("/").iterdir()):
            if entry.is_symlink():
                arguments += ["--symlink", os.readlink(entry), str(entry)]
            elif entry.is_dir() and entry.name not in ("proc", "dev", "tmp", "run", "sys"):
                arguments += ["--ro-bind", str(entry), str(entry)]
        arguments += ["--dir", "/run", "--dir", "/tmp"]
        covered = []
        for place, source, _ in self.mounts:
            target = Path(os.path.realpath(place))
            if not target.exists() and target.parts[1] not in ("run", "tmp"):
                # Nothing can be made in a read-only folder: the nearest that exists is covered by an empty one.
                covered.append(str(next(parent for parent in target.parents if parent.exists())))
        for place in dict.fromkeys(covered):
            arguments += ["--tmpfs", place]
        return arguments

    def _arguments(self, info: int, command: list[str]) -> list[str]:
        arguments = ["bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent",
                     "--new-session", "--as-pid-1", "--cap-drop", "ALL", "--uid", str(self.user), "--gid",
                     str(self.user), "--hostname", self.name, "--info-fd", str(info)]
        arguments += self._base()
        for place in self.tmpfs:
            arguments += ["--perms", "1777", "--tmpfs", place if self.root else os.path.realpath(place)]
        for place, source, is_read_only in self.mounts:
            target = place if self.root else os.path.realpath(place)
            arguments += ["--ro-bind" if is_read_only else "--bind", str(source), target]
        arguments += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/", "--chdir", self.workdir, "--clearenv"]
        for name, value in ({"PATH": ENGINE_PATH} | self.environment).items():
            arguments += ["--setenv", name, value]
        return [*arguments, "--", *command]

    def start(self, command: list[str], stdin: bytes | None = None, log: Path | None = None) -> "Running":
        """Starts a program as the container's first process."""
        reader, writer = os.pipe()
        out = log.open("ab") if log else subprocess.PIPE
        child = subprocess.Popen(
            self._arguments(writer, command), pass_fds=[writer], stdout=out, stderr=subprocess.STDOUT,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL, preexec_fn=self._limits)
        os.close(writer)
        if stdin is not None:
            child.stdin.write(stdin)
            child.stdin.close()
            child.stdin = None
        with os.fdopen(reader) as info:
            text = info.read()
        if log:
            out.close()
        return Running(self, child, json.loads(text)["child-pid"] if text else None, log)

    def run(self, command: list[str], stdin: bytes | None = None) -> tuple[int, str]:
        """Runs a program to its end, which is near: its exit code, and all that it said."""
        running = self.start(command, stdin)
        try:
            said, _ = running.child.communicate(timeout=2 * DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            running.child.kill()
            said, _ = running.child.communicate()
        return running.child.returncode, said.decode(errors="replace")

    def _limits(self) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if self.open_files is not None:
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            if hard == resource.RLIM_INFINITY or self.open_files <= hard:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self.open_files, self.open_files))


@dataclass
class Running:
    """A program that runs until it is told to end."""

    container: Container
    child: subprocess.Popen
    # The program itself, seen from outside.
    pid: int | None
    log: Path | None

    def has_ended(self) -> bool:
        return self.child.poll() is not None

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log else ""

    def status(self) -> dict[str, str]:
        """What the kernel says of it."""
        lines = Path(f"/proc/{self.pid}/status").read_text().split("\n")
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

    def has_read_only_root(self) -> bool:
        mounts = [line.split() for line in Path(f"/proc/{self.pid}/mountinfo").read_text().split("\n") if line]
        return all("ro" in mount[5].split(",") for mount in mounts if mount[4] == "/")

    def stop(self, how: int = signal.SIGTERM, seconds: float = 15) -> int | None:
        """Signals the program, and waits; who does not end in time is killed, and None returned."""
        if not self.has_ended() and self.pid is not None:
            # Not yet waited for, so the id is still this child's.
            os.kill(self.pid, how)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                return self.child.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                pass
        self.child.kill()
        self.child.wait()
        return None


def make_place(target: Path, source: Path) -> None:
    """An empty file or folder for a mount."""
    if target.exists():
        return
    if source.is_dir():
        target.mkdir(parents=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()

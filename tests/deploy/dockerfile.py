"""Reads deploy/Dockerfile and .dockerignore: as much of their languages as those two files use.

What it does not know ends the program: a step that is passed over would be a step that nobody has tried.
"""

import fnmatch
import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "LABEL", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD",
         "HEALTHCHECK"}


@dataclass
class Stage:
    """One image: its instructions in their order."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [value for name, value in self.steps if name == instruction]

    def last(self, instruction: str) -> str | None:
        values = self.all(instruction)
        return values[-1] if values else None

    def command(self, instruction: str) -> list[str]:
        """The JSON form: without it a shell would be needed."""
        value = self.last(instruction)
        if value is None:
            return []
        return json.loads(value[value.index("["):])


def read(path: Path) -> tuple[dict[str, str], dict[str, Stage]]:
    """The arguments before the first stage, and the stages by name."""
    text = re.sub(r"\\\n", " ", "\n".join(line for line in path.read_text().split("\n") if not line.startswith("#")))
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    stage = None
    for line in filter(None, map(str.strip, text.split("\n"))):
        instruction, value = line.split(None, 1)
        if instruction not in KNOWN:
            sys.exit(f"deploy: {path} has {instruction}, which nobody here knows how to try")
        if instruction == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", value).groups()
            stage = stages.setdefault(name, Stage(name, base))
        elif stage is None:
            name, default = value.split("=", 1)
            arguments[name] = default
        else:
            stage.steps.append((instruction, re.sub(r"\s+", " ", value)))
    return arguments, stages


def context(root: Path) -> list[str]:
    """The files that a build is given: those of git, and new ones, that .dockerignore lets through."""
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                            cwd=root, check=True, capture_output=True, text=True).stdout
    rules = [line for line in (root / ".dockerignore").read_text().split("\n") if line and not line.startswith("#")]
    return [path for path in listed.split("\n") if path and (root / path).is_file() and is_given(path, rules)]


def is_given(path: str, rules: list[str]) -> bool:
    """The last rule that matches the file, or a folder that it is in, decides."""
    given = True
    parts = path.split("/")
    ancestors = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    for rule in rules:
        pattern = rule.removeprefix("!")
        # A * stays within one name.
        if any(pattern.count("/") == ancestor.count("/") and fnmatch.fnmatchcase(ancestor, pattern)
               for ancestor in ancestors):
            given = rule.startswith("!")
    return given

"""Makes the images' root file systems by the steps of deploy/Dockerfile, without an engine.

The steps run as they are written, at the places that they name, in a copy of the build context. In place of the two
that compile, programs that cargo has already built are taken, unless the whole build is asked for.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from checks import that
from dockerfile import Stage, context, read

OURS = ("countersign", "simulator")
# Nothing in an image needs more than the programs and their libraries.
MAX_MIB = 400


def check_dockerfile(root: Path) -> dict[str, Stage]:
    """What can be judged by reading."""
    arguments, stages = read(root / "deploy/Dockerfile")
    that("the Dockerfile's last stage is the server", list(stages)[-1] == "countersign", list(stages))
    channel = re.search(r'channel = "(.*)"', (root / "rust-toolchain.toml").read_text()).group(1)
    that("its compiler is that of rust-toolchain.toml", arguments["RUST_VERSION"] == channel, arguments)
    given = context(root)
    manifests = {path for path in given if path.endswith("Cargo.toml")}
    copied = {source for value in stages["build"].all("COPY") for source in value.split()[:-1]}
    that("every manifest is copied before the sources", manifests <= copied, manifests - copied)
    missing = [source for source in copied if not any(path.startswith(source.rstrip("/")) for path in given)]
    that("everything that it copies is in the context", not missing, missing)
    scripts = (root / "deploy/image/build.sh").read_text()
    that("it compiles what Cargo.lock says", "cargo build --locked " in scripts)
    secrets = [path for path in given if re.search(r"\.(pem|p8|key|db)$|signing-keys", path)]
    that(f"of the {len(given)} files of the context none is a key or a database", not secrets, secrets)
    for name in OURS:
        stage = stages[name]
        that(f"{name}: from scratch, by a numeric user that is not root",
             stage.base == "scratch" and stage.last("USER") == "65532:65532", stage)
        that(f"{name}: no step needs a shell", not stage.all("RUN") and stage.command("ENTRYPOINT"), stage)
        labels = stage.last("LABEL") or ""
        wanted = ("title", "description", "licenses", "version", "revision", "created")
        that(f"{name}: labelled, ended by SIGTERM", stage.last("STOPSIGNAL") == "SIGTERM" and
             all(f"org.opencontainers.image.{label}=" in labels for label in wanted), labels)
    that("the server's image checks its health itself", stages["countersign"].command("HEALTHCHECK")[-1] == "health")
    return stages


def build(root: Path, stages: dict[str, Stage], folder: Path, built: Path | None) -> dict[str, Path]:
    """The root folders of our images. `built`: where cargo put debug programs; None: compile, in a folder of our own.

    Never in the working copy's target folder: the packages would be taken for its own, empty sources and all.
    """
    source, image = folder / "src", folder / "image"
    image.mkdir()
    for path in context(root):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / path, source / path)
    (source / "target").mkdir()
    # A debug build: what is tried is the steps, not the optimiser.
    environment = os.environ | {"PROFILE": "dev"}
    environment.pop("CARGO_TARGET_DIR", None)
    mounts = {"/src": source, "/image": image}
    complete = source
    if built is not None:
        mounts["/src/target/debug"] = built
    else:
        # As COPY does it: the sources are not there yet when the dependencies are compiled.
        mounts["/src"] = folder / "builder"
        mounts["/src/target"] = root / "target/deploy-check/target"
        for place in mounts.values():
            place.mkdir(parents=True, exist_ok=True)
    for instruction, value in stages["build"].steps:
        if instruction == "COPY" and built is None:
            *sources, target = value.split()
            for name in sources:
                place = mounts["/src"] / target / ("" if (complete / name).is_dir() else Path(name).name)
                if (complete / name).is_dir():
                    shutil.copytree(complete / name, place, dirs_exist_ok=True)
                else:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(complete / name, place)
        elif instruction == "RUN":
            is_compiling = value.split()[0].endswith("build.sh")
            if is_compiling and built is not None:
                continue
            done = subprocess.run(["bwrap", *builder(mounts), "--chdir", "/src", "--", "/bin/bash", "-c", value],
                                  env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
            that(f"RUN {value}", done.returncode == 0, done.stdout)
    return {name: assemble(stages[name], image, folder / f"root-{name}") for name in OURS}


def builder(mounts: dict[str, Path]) -> list[str]:
    """This machine as the builder: its programs, but only the copied sources can be written to, and cargo's folders."""
    arguments = ["--unshare-user", "--unshare-pid", "--uid", "0", "--gid", "0", "--die-with-parent", "--new-session"]
    for entry in sorted(Path("/").iterdir()):
        if entry.is_symlink():
            arguments += ["--symlink", os.readlink(entry), str(entry)]
        elif entry.is_dir() and str(entry) not in ("/proc", "/dev", "/tmp", *mounts):
            arguments += ["--ro-bind", str(entry), str(entry)]
    cargo = os.environ.get("CARGO_HOME") or str(Path.home() / ".cargo")
    arguments += ["--bind", cargo, cargo]
    for place, folder in mounts.items():
        arguments += ["--bind", str(folder), place]
    return [*arguments, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]


def assemble(stage: Stage, image: Path, root: Path) -> Path:
    """What COPY --from=build puts into an empty root."""
    for value in stage.all("COPY"):
        words = [word for word in value.split() if not word.startswith("--")]
        that(f"{stage.name}: COPY {value} takes from the build", "--from=build" in value, value)
        source, target = words
        shutil.copytree(image / Path(source).relative_to("/image"), root / target.lstrip("/"), dirs_exist_ok=True,
                        symlinks=True)
    files = [path for path in root.rglob("*") if path.is_file()]
    shells = [path for path in files if path.name in ("sh", "bash", "dash", "busybox")]
    that(f"{stage.name}: there is no shell in its {len(files)} files", not shells, shells)
    authorities = root / "etc/ssl/certs/ca-certificates.crt"
    that(f"{stage.name}: certificate authorities are in it",
         authorities.is_file() and authorities.stat().st_size > 100_000)
    size = sum(path.stat().st_size for path in files) // 2**20
    that(f"{stage.name}: {size} MiB, with debug programs", size < MAX_MIB, size)
    return root

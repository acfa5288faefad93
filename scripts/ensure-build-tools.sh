#!/usr/bin/env bash
# Makes sure that the workspace can be built: cargo, and a C compiler for the cryptography
# (aws-lc) and for SQLite, both of which are compiled from bundled source. Nothing else is needed.
# Must never change a machine that already has both.
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v cargo >/dev/null; then
    echo "countersign: cargo is not on the PATH; install Rust with rustup (https://rustup.rs)" >&2
    exit 1
fi
if ! command -v cc >/dev/null; then
    ./install-packages.sh apt:build-essential dnf:gcc,gcc-c++,make apk:build-base pacman:base-devel brew:gcc
fi

#!/bin/bash
# Lays out the root folders of the images below FOLDER: each program with the libraries that it is linked to, the
# certificate authorities, and a few lines about users and names; no shell, no package manager, nothing else.
# Usage: assemble.sh FOLDER, in the root of the sources after build.sh, with cargo's profile in PROFILE.
# Must never copy from anywhere but the build and this system's packages.
set -euo pipefail
image="${1:?usage: $0 FOLDER}"
folder="${PROFILE:-release}"
if [ "$folder" = dev ]; then folder=debug; fi
built="${CARGO_TARGET_DIR:-target}/$folder"
authorities=/etc/ssl/certs/ca-certificates.crt

if [ ! -s "$authorities" ]; then
    echo "assemble.sh: $authorities is missing: without it no push provider can be reached" >&2
    exit 1
fi

for program in countersign countersign-simulator; do
    root="$image/$program"
    install -D --mode=755 "$built/$program" "$root/usr/local/bin/$program"
    # The libraries and the loader, under the names by which the program asks for them.
    ldd "$built/$program" | sed -n -E 's/^[^/]*(\/[^ ]+) \(0x[0-9a-f]+\)$/\1/p' | while IFS= read -r library; do
        install -D --mode=755 "$(readlink -f "$library")" "$root$library"
    done
    install -D --mode=644 "$authorities" "$root$authorities"
    mkdir -p "$root/etc"
    echo 'nonroot:x:65532:65532::/var/lib/countersign:/nonexistent' >"$root/etc/passwd"
    echo 'nonroot:x:65532:' >"$root/etc/group"
    echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
    # What scanners of images look for: which packages these files are from.
    if command -v dpkg-query >/dev/null; then
        mkdir -p "$root/var/lib/dpkg"
        dpkg-query --status libc6 libgcc-s1 ca-certificates >"$root/var/lib/dpkg/status"
    fi
done
# What belongs to the user of the images; the Dockerfile says whose it is.
mkdir -p "$image/state"

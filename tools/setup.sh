#!/usr/bin/env bash
# Makes .venv with the pinned packages and this package in it. Does nothing when nothing changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv
STAMP=$VENV/.requirements.sha256
INSTALL_STAMP=$VENV/.package.sha256
OLDEST='3, 11'
NEWEST='3, 13'

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

usable() {
    command -v "$1" >/dev/null &&
        "$1" -c "import sys; sys.exit(not ($OLDEST) <= sys.version_info[:2] <= ($NEWEST))" 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13}; do
        if usable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python ${PYTHON:-$(python3 -V 2>&1 | cut -d' ' -f2)} found; 3.11, 3.12 or 3.13 is" \
        "needed: install one, or name it with PYTHON=/path/to/python3.12 make setup"
}

# Prints the Debian packages whose libraries the wheels expect and the machine lacks.
missing_packages() {
    "$1" - <<'PYTHON'
import ctypes
import importlib.util

LIBRARIES = {'libusb-1.0.so.0': 'libusb-1.0-0', 'libGL.so.1': 'libgl1', 'libEGL.so.1': 'libegl1',
             'libX11.so.6': 'libx11-6'}
for library, package in LIBRARIES.items():
    try:
        ctypes.CDLL(library)
    except OSError:
        print(package)
if importlib.util.find_spec('ensurepip') is None:
    print('python3-venv')
PYTHON
}

install_packages() {
    local line="apt-get install -y --no-install-recommends $*"
    command -v apt-get >/dev/null ||
        fail "libraries are missing that Debian has in $*; install your distribution's equivalents"
    [ "$(id -u)" = 0 ] || fail "Debian packages are missing; run this, then try again:  sudo $line"
    say "installing Debian packages: $*"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && $line -qq; } >/dev/null || fail "apt-get failed; run:  $line"
}

requirements_hash() {
    { cat requirements/*.txt tools/setup.sh; "$VENV/bin/python" -V; } | sha256sum
}

package_hash() {
    find setup.py setup.cfg package.xml resource launch config -type f -print0 | sort -z |
        xargs -0 sha256sum | sha256sum
}

install_requirements() {
    local python packages
    python=$(find_python)
    packages=$(missing_packages "$python")
    # shellcheck disable=SC2086  # a list of names
    [ -z "$packages" ] || install_packages $packages
    usable "$VENV/bin/python" || "$python" -m venv --clear "$VENV"
    say "installing the pinned packages into $VENV (2 GB, some minutes the first time)"
    local quiet=()
    [ -t 2 ] || quiet=(--quiet)
    "$VENV/bin/python" -m pip install "${quiet[@]}" --disable-pip-version-check \
        -r requirements/library.txt -r requirements/training.txt -r requirements/fleet.txt \
        -r requirements/viewer.txt -r requirements/ros.txt -r requirements/test.txt \
        -r requirements/docs.txt \
        -c requirements/constraints.txt
    "$VENV/bin/python" -m pip install "${quiet[@]}" --disable-pip-version-check --no-deps \
        -r requirements/names.txt
    requirements_hash >"$STAMP"
    rm -f "$INSTALL_STAMP"
}

install_package() {
    say "installing diffseg_ros itself"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --no-build-isolation --editable .
    package_hash >"$INSTALL_STAMP"
}

up_to_date() { [ -f "$1" ] && [ "$(cat "$1")" = "$($2)" ]; }

up_to_date "$STAMP" requirements_hash || install_requirements
up_to_date "$INSTALL_STAMP" package_hash || install_package

# shellcheck shell=bash
# Sourced by deploy/*/build before they do anything else: goes to the checkout, and sets the time that all files of a build have.

fail() { # MESSAGE
    echo "$0: $1" >&2
    exit 1
}

need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null || fail "$1 is not installed; on Debian: apt-get install $2"
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)} || fail "needs git and a clone, or SOURCE_DATE_EPOCH"
export SOURCE_DATE_EPOCH

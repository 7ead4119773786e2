#!/bin/sh
# Install what wherry needs and is missing: Debian packages (by sudo where not root) and the locked Python packages in .venv.
# Does nothing, and asks no network, where all is there.
set -eu
cd "$(dirname "$0")/.."

packages=""
command -v nft >/dev/null 2>&1 || [ -x /usr/sbin/nft ] || packages="$packages nftables"
command -v ip >/dev/null 2>&1 || [ -x /usr/sbin/ip ] || packages="$packages iproute2"
command -v bwrap >/dev/null 2>&1 || packages="$packages bubblewrap"

# Ordinary users run the virtual environment too, so its interpreter must not live in somebody's private home.
python=""
for candidate in /usr/bin/python3 /usr/bin/python3.1? /usr/local/bin/python3 "$(command -v python3 || true)"; do
    if [ -x "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    packages="$packages python3 python3-venv"
elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    packages="$packages python3-venv"
fi

if [ -n "$packages" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "setup: please install:$packages (this machine has no apt-get), then run again" >&2
        exit 1
    fi
    as_root=""
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null 2>&1; then
            echo "setup: please install as root: apt-get install$packages, then run again" >&2
            exit 1
        fi
        as_root="sudo"
        echo "setup: installing by sudo:$packages"
    else
        echo "setup: installing:$packages"
    fi
    $as_root apt-get update -qq
    # shellcheck disable=SC2086  # a list of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
    [ -n "$python" ] || python=/usr/bin/python3
fi

wanted="$(cat requirements/dev.txt pyproject.toml | sha256sum | cut -d' ' -f1) $(pwd)"
if [ -x .venv/bin/wherry ] && [ "$(cat .venv/wherry-setup 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
echo "setup: Python packages into .venv"
[ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null || { rm -rf .venv; "$python" -m venv .venv; }
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
echo "$wanted" > .venv/wherry-setup

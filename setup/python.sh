#!/bin/sh
# Makes the virtual environment .venv, or says what is missing for it. PYTHON chooses the interpreter.
set -eu
python=${PYTHON:-python3}

if ! command -v "$python" >/dev/null 2>&1; then
    echo "setup: $python is not installed; Python 3.11 or newer is needed" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "setup: $("$python" --version) is too old; Python 3.11 or newer is needed (PYTHON=... chooses another)" >&2
    exit 1
fi
# Debian splits the module that makes working environments off into a package of its own.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    sh "$(dirname "$0")/packages.sh" python3-venv
fi
exec "$python" -m venv --clear .venv

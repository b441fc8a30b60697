#!/usr/bin/env bash
# Tests of the external tree that need no Buildroot: Kconfig in every
# combination, the signing script on fake images, shellcheck. With BUILDROOT_DIR
# set, whole builds too.

set -euo pipefail
cd "$(dirname "${0}")"

missing() {
	if [ "${CI:-}" = true ]; then
		printf 'FAILED: %s is not installed\n' "${1}" >&2
		exit 1
	fi
	printf 'SKIPPED: %s is not installed\n' "${1}" >&2
}

if command -v shellcheck > /dev/null; then
	shellcheck -x run.sh fixture/*.sh ../board/*/*.sh ../board/*/overlay/init ../support/*.sh ../package/*/*.sh
	echo "shellcheck: ok"
else
	missing shellcheck
fi

export PYTHONDONTWRITEBYTECODE=1
python3 -m unittest -q test_hooks test_package

# kconfiglib comes from PyPI, into a directory of its own
modules="$(cd ../.. && pwd)/target/tests/kconfiglib-14.1.0"
export PYTHONPATH="${modules}"
if ! python3 -c 'import kconfiglib' 2> /dev/null; then
	python3 -m pip install --quiet --disable-pip-version-check --no-deps \
		--target "${modules}" kconfiglib==14.1.0 || true
fi
if python3 -c 'import kconfiglib' 2> /dev/null; then
	python3 -m unittest -q test_kconfig
else
	missing "kconfiglib (pip install kconfiglib)"
fi

python3 buildroot.py

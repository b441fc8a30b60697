#!/bin/sh
# The layer's tests that need no checkout of bitbake or oe-core. `make test` and CI run them.
#
#   tests/run.sh           a missing tool skips by name, and fails where CI=true
#
# The ones with real bitbake: tests/integration/run.py.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

skip() {
	printf 'SKIPPED: %s\n' "$1"
	if [ "${CI:-}" = true ]; then
		echo "error: in CI nothing may be skipped" >&2
		exit 1
	fi
}

echo '== unit tests of lib/hsmsign'
"$python" -m unittest -q tests/unit/test_hsmsign.py

echo '== crate list'
"$python" tests/crates.py && echo ok

echo '== parsing with the bb library of bitbake-setup'
if "$python" -c 'import bb' 2>/dev/null; then
	"$python" tests/parse.py
else
	skip "the bb library is not here; $python -m pip install bitbake-setup==2.19.*"
fi

echo '== oelint-adv'
if command -v oelint-adv >/dev/null; then
	# Each rule that is not ours stands in the list with its reason.
	suppress=$(sed -n 's/^\([a-zA-Z_.]*\) .*/--suppress \1/p' tests/oelint-rules.txt)
	# shellcheck disable=SC2046,SC2086 # file names and rules are words
	found=$(oelint-adv --quiet --exit-zero --release scarthgap $suppress \
		$(find recipes-* dynamic-layers classes-* -name '*.bb' -o -name '*.bbclass' | LC_ALL=C sort) 2>&1)
	if [ -n "$found" ]; then
		printf '%s\n' "$found"
		exit 1
	fi
	echo ok
else
	skip 'oelint-adv is not here; python3 -m pip install oelint-adv'
fi

echo '== shellcheck'
if command -v shellcheck >/dev/null; then
	find . -name '*.sh' -exec shellcheck {} + && echo ok
else
	skip 'shellcheck is not here'
fi

# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the layer must know of hsmsign.yaml without a YAML parser: which files belong to it."""

import os
import re

_CERTIFICATE = re.compile(r"""([^\s"'\[\],:{}]+\.(?:pem|crt|cer|der))\b""", re.IGNORECASE)
_RELEASE = re.compile(r"^release\s*:", re.MULTILINE)


def _text(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        # Comments are no content; a `#` inside quotes would cut a line short, and no file name there ends after it.
        return "\n".join(line.split(" #")[0] for line in file if not line.lstrip().startswith("#"))


def files(path):
    """The policy and every certificate that it names, in a fixed order; what they hold decides signatures."""
    found = [path]
    beside = os.path.dirname(path)
    for name in sorted(set(_CERTIFICATE.findall(_text(path)))):
        found.append(os.path.normpath(os.path.join(beside, name)))
    return found


def names_release_keys(path):
    """Whether there is a `release:` section."""
    return bool(_RELEASE.search(_text(path)))

# SPDX-License-Identifier: MIT OR Apache-2.0
"""The set id of the dev keys, chosen before the keys exist so that task hashes can name them."""

import os
import re
import secrets
import tempfile

NAME = "set-id"
_FORM = re.compile(r"^[0-9a-f]{16}$")


def set_id(directory):
    """The set id in `directory`, 16 hexadecimal digits; both are made if they are missing.

    hsmsign binds the keys that it makes there later to this id. Raises OSError, or ValueError if what stands
    there is no set id.
    """
    path = os.path.join(directory, NAME)
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    try:
        # hsmsign refuses a directory that others can write to.
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".set-id-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(8))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        try:
            # A link and not a rename: of two that begin at once the first one's id stays.
            os.link(temporary, path)
        except FileExistsError:
            pass
    finally:
        os.unlink(temporary)
    return _read(path)


def _read(path):
    with open(path, encoding="ascii", errors="replace") as file:
        text = file.read(64).strip()
    if not _FORM.match(text):
        raise ValueError("`%s` is not 16 hexadecimal digits; remove the directory, or name another" % path)
    return text

# SPDX-License-Identifier: MIT OR Apache-2.0
"""How the tool is called, and what is said when it fails."""

import os

# Exit codes of hsmsign, and which variable is worth a look.
_LOOK_AT = {
    3: "HSMSIGN_POLICY or HSMSIGN_HOST_CONFIG",
    4: "HSMSIGN_POLICY",
    5: {"dev": "HSMSIGN_SOFTHSM and HSMSIGN_DEV_DIR", "release": "HSMSIGN_AGENT and HSMSIGN_HOST_CONFIG"},
}

# What the tool says on standard error while it goes on.
_WARNING = "warning: "


def call(variables, native_libraries, program="hsmsign"):
    """hsmsign with its global options, as a list.

    Every option is given, so that neither a file found by chance nor the caller's environment decides.

    It runs outside of fakeroot, as wic does: the owner of a dev directory or PIN file must be seen as it is, and pseudo,
    which watches the C library's calls, would not see the program's own renames and abort when it meets their inodes again.
    """
    mode = variables["HSMSIGN_MODE"]
    command = ["env", "PSEUDO_UNLOAD=1"]
    command += [program, "--mode", mode, "--config", variables["HSMSIGN_POLICY"]]
    if mode == "dev":
        module = variables.get("HSMSIGN_SOFTHSM") or os.path.join(native_libraries, "softhsm", "libsofthsm2.so")
        command += ["--dev-dir", variables["HSMSIGN_DEV_DIR"], "--softhsm", module]
    else:
        if variables.get("HSMSIGN_HOST_CONFIG"):
            command += ["--host-config", variables["HSMSIGN_HOST_CONFIG"]]
        if variables.get("HSMSIGN_AGENT"):
            command += ["--agent", variables["HSMSIGN_AGENT"]]
    return command


def warning(line):
    """What a line of the tool's standard error warns of, or None if it is no warning."""
    return line[len(_WARNING):] if line.startswith(_WARNING) else None


def _look_at(code, mode):
    look = _LOOK_AT.get(code, "")
    return look.get(mode, "") if isinstance(look, dict) else look


def look_at_cases(mode):
    """`failure`'s last line as arms of a shell's `case` over the exit code, in one line."""
    return " ".join("%d) hsmsign_look='\\nSee %s.' ;;" % (code, _look_at(code, mode)) for code in sorted(_LOOK_AT) if _look_at(code, mode))


def failure(mode, arguments, code, messages):
    """One message: what failed, the tool's own words, and which variable is worth a look."""
    look = _look_at(code, mode)
    text = "hsmsign %s failed in mode %s (exit code %d)" % (" ".join(arguments[:2]), mode, code)
    if messages.strip():
        text += ":\n" + messages.strip()
    if look:
        text += "\nSee %s." % look
    return text

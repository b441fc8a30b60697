# SPDX-License-Identifier: MIT OR Apache-2.0
"""What is looked at when a build has ended: the release gate over what was deployed, the leak scan over
that and the source archives.

Tested without bitbake; the class hsmsign-hooks calls it.
"""

import os
import re
import subprocess

from hsmsign.command import warning

# Longer reports are in the log, whose name the message tells.
_SHOWN_LINES = 40
# What begins a part of the gate's report that does not say why it refuses; indented lines belong to it.
_GOOD = re.compile(r"(covered|signed|ok|warn|excepted)\s|\d+ files are no artifacts:|a release gate would refuse:")


def tool(binary, sysroots):
    """The tool: the user's own, or the first that is there in `sysroots` (native ones, with /usr in them)."""
    if binary:
        return binary, None
    for sysroot in sysroots:
        path = os.path.join(sysroot, "usr/bin/hsmsign")
        if os.access(path, os.X_OK):
            return path, sysroot
    return None, None


def commands(call, images, archives):
    """The checks of a build as (name, command); `call` is hsmsign with its global options, `archives` may not be there."""
    places = [images] + ([archives] if os.path.isdir(archives) else [])
    return [("release gate", [*call, "verify", "deploy", images]), ("leak scan", [*call, "scan", *places])]


def run(checks, log):
    """Runs the checks and writes all they say to the file `log`.

    Returns one message for each that did not pass, and what those that passed warn of: that it was a rehearsal.
    """
    bad, warnings = [], []
    os.makedirs(os.path.dirname(log), exist_ok=True)
    # At the same time: the user waits for them, and each reads the largest file on one core.
    running = [(name, command, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                                errors="replace")) for name, command in checks]
    with open(log, "w", encoding="utf-8") as file:
        for name, command, process in running:
            report, error = process.communicate()
            file.write("%s\n%s%s\n" % (" ".join(command), report, error))
            if process.returncode != 0:
                bad.append(message(name, command[-1], process.returncode, report, error, log))
            else:
                warnings += ["%s: %s" % (name, text) for text in map(warning, error.splitlines()) if text]
    return bad, warnings


def message(name, place, code, report, error, log):
    """What a check found: the lines of its report that say why, or all of it if it is short."""
    lines = report.strip().splitlines()
    if len(lines) > _SHOWN_LINES:
        lines = _without_good(lines)
    if len(lines) > _SHOWN_LINES:
        lines = lines[:_SHOWN_LINES] + ["…"]
    text = "%s of %s: " % (name, place) + ("it must not ship" if code == 7 else "not done (exit code %d)" % code)
    return "\n".join([text, *lines, *error.strip().splitlines(), "All of it: %s" % log])


def _without_good(lines):
    """The lines but the parts that say what is in order."""
    kept, good = [], False
    for line in lines:
        if not line.startswith(" "):
            good = bool(_GOOD.match(line))
        if not good and (line or kept and kept[-1]):
            kept.append(line)
    return kept

# SPDX-License-Identifier: MIT OR Apache-2.0
"""Checks the layer's variables as soon as the configuration has been read."""

import os
import re
import stat

from hsmsign import devset, policy

MODES = ("dev", "release")
HOOKS = ("fit", "uboot", "image", "swupdate")

# What is checked here and what a call of the tool is made from.
VARIABLES = (
    "HSMSIGN_MODE",
    "HSMSIGN_POLICY",
    "HSMSIGN_DEV_DIR",
    "HSMSIGN_HOST_CONFIG",
    "HSMSIGN_AGENT",
    "HSMSIGN_SOFTHSM",
    "HSMSIGN_BINARY",
    "HSMSIGN_HOOKS",
)

# A PIN by any name. Whole words, so that HSMSIGN_SPINNER would be no PIN.
_SECRET = re.compile(r"^HSMSIGN_(.*_)?(PIN|PINS|PASSWORD|PASSPHRASE|SECRET)(_.*)?$")


class SettingsError(Exception):
    """One sentence that names the variable, its value and the line to write."""


def _wrong(name, value, problem, line):
    shown = '%s = "%s"' % (name, value) if value else "%s is not set" % name
    return SettingsError("%s: %s; write %s" % (shown, problem, line) if value else "%s; write %s" % (shown, line))


def _secret_variables(names):
    return sorted({name.split(":")[0] for name in names if _SECRET.match(name.split(":")[0])})


def _check_secrets(names, environment):
    """A PIN in a variable ends in logs, run scripts and shared state: there is none, and inventing one stops."""
    for name in _secret_variables(environment):
        raise SettingsError(
            "%s is in the environment of bitbake, which writes it to bitbake-cookerdaemon.log; take it away, change that PIN, "
            "and name a PIN file or the agent in the host settings" % name
        )
    for name in _secret_variables(names):
        raise SettingsError(
            "%s: there is no variable for a PIN, since bitbake writes variables to logs, run scripts and shared state; "
            'remove it and write HSMSIGN_AGENT = "/run/hsmsign/agent.sock", or HSMSIGN_HOST_CONFIG = "/etc/hsmsign/host.yaml" '
            "with the PIN's source in that file" % name
        )


def _check_file(name, value, line):
    if not os.path.isabs(value):
        raise _wrong(name, value, "not an absolute path", line)
    if not os.path.isfile(value):
        raise _wrong(name, value, "there is no such file", line)
    if not os.access(value, os.R_OK):
        raise _wrong(name, value, "it cannot be read", line)


def _check_agent(value):
    line = (
        'HSMSIGN_AGENT = "/path/to/agent.sock", the socket that `hsmsign agent` listens on, or '
        'HSMSIGN_HOST_CONFIG = "/etc/hsmsign/host.yaml" to sign without an agent'
    )
    if not os.path.isabs(value):
        raise _wrong("HSMSIGN_AGENT", value, "not an absolute path", line)
    try:
        mode = os.stat(value).st_mode
    except OSError as error:
        raise _wrong("HSMSIGN_AGENT", value, error.strerror.lower(), line) from None
    if not stat.S_ISSOCK(mode):
        raise _wrong("HSMSIGN_AGENT", value, "not a socket", line)
    if not os.access(value, os.R_OK | os.W_OK):
        raise _wrong("HSMSIGN_AGENT", value, "this user may not use it", line)


def check(variables, names, environment, collections):
    """Judges the configuration and returns the identity of the keys that will sign.

    `variables` holds VARIABLES; `names` are all names in the configuration, `environment` those bitbake was started
    with, `collections` the layers' names. Raises SettingsError. In dev the directory and its set id are made.
    """
    mode = variables.get("HSMSIGN_MODE") or ""
    if mode not in MODES:
        raise _wrong("HSMSIGN_MODE", mode, "unknown mode", 'HSMSIGN_MODE = "dev", "release" or "off"')
    _check_secrets(names, environment)
    hooks = variables.get("HSMSIGN_HOOKS") or ""
    for hook in hooks.split():
        if hook not in HOOKS:
            raise _wrong("HSMSIGN_HOOKS", hooks, "unknown hook `%s`" % hook, 'HSMSIGN_HOOKS = "%s" or a part of it' % " ".join(HOOKS))
    binary = variables.get("HSMSIGN_BINARY")
    if binary:
        _check_file("HSMSIGN_BINARY", binary, 'HSMSIGN_BINARY = "/path/to/hsmsign"')
        if not os.access(binary, os.X_OK):
            raise _wrong("HSMSIGN_BINARY", binary, "it cannot be executed", 'HSMSIGN_BINARY = "/path/to/hsmsign", after chmod +x')
    file = variables.get("HSMSIGN_POLICY") or ""
    line = 'HSMSIGN_POLICY = "/path/to/hsmsign.yaml"'
    if not file:
        raise _wrong("HSMSIGN_POLICY", "", "", line)
    _check_file("HSMSIGN_POLICY", file, line)
    if mode == "release":
        return _check_release(variables, file)
    return _check_dev(variables, collections)


def _check_release(variables, file):
    if not policy.names_release_keys(file):
        raise _wrong(
            "HSMSIGN_POLICY", file, "it has no `release:` section, so no release key is pinned",
            "one as `hsmsign --mode release keys pin --role ROLE` prints it",
        )
    if variables.get("HSMSIGN_AGENT"):
        _check_agent(variables["HSMSIGN_AGENT"])
    if variables.get("HSMSIGN_HOST_CONFIG"):
        _check_file("HSMSIGN_HOST_CONFIG", variables["HSMSIGN_HOST_CONFIG"], 'HSMSIGN_HOST_CONFIG = "/etc/hsmsign/host.yaml"')
    # The keys themselves are pinned in the policy, whose bytes are hashed.
    return "release"


def _check_dev(variables, collections):
    softhsm = variables.get("HSMSIGN_SOFTHSM")
    if softhsm:
        line = 'HSMSIGN_SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"'
        _check_file("HSMSIGN_SOFTHSM", softhsm, line)
        # Asked here, since in a task's user namespace root's files cannot be told from other users'.
        if os.stat(softhsm).st_uid not in (0, os.geteuid()):
            raise _wrong("HSMSIGN_SOFTHSM", softhsm, "it belongs to another user, neither you nor root", line)
    elif "openembedded-layer" not in collections:
        raise _wrong(
            "HSMSIGN_SOFTHSM", "", "",
            'HSMSIGN_SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so", or add the layer meta-oe, which has softhsm-native',
        )
    directory = variables.get("HSMSIGN_DEV_DIR") or ""
    line = 'HSMSIGN_DEV_DIR = "/a/directory/of/yours"'
    if not os.path.isabs(directory):
        raise _wrong("HSMSIGN_DEV_DIR", directory, "not an absolute path", line)
    try:
        identity = devset.set_id(directory)
    except OSError as error:
        raise _wrong("HSMSIGN_DEV_DIR", directory, (error.strerror or str(error)).lower(), line) from None
    except ValueError as error:
        raise _wrong("HSMSIGN_DEV_DIR", directory, str(error), line) from None
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise _wrong("HSMSIGN_DEV_DIR", directory, "this user cannot write there", line)
    found = os.stat(directory)
    if found.st_uid != os.geteuid():
        raise _wrong("HSMSIGN_DEV_DIR", directory, "it belongs to another user", line + ", or copy that directory")
    if found.st_mode & 0o022:
        raise _wrong("HSMSIGN_DEV_DIR", directory, "others can write to it", line + ", or chmod go-w it")
    return identity

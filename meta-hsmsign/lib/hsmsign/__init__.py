# SPDX-License-Identifier: MIT OR Apache-2.0
"""What meta-hsmsign's classes call. Nothing here reads the datastore, so all of it is tested without bitbake."""

# What bitbake imports, and whose functions it counts into task hashes.
BBIMPORTS = ["settings", "devset", "policy", "hooks", "command", "gate"]

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Parses the layer with bitbake's own library, as PyPI's `bitbake-setup` carries it; no oe-core, so no recipe is built.

Every class must parse, and every task that signs must have mode and key identity in its hash, and no path.
"""

import os
import pathlib
import sys
import tempfile
import types

# The wheel carries bb alone; nothing here asks a hash server.
for absent in ("hashserv", "hashserv.client"):
    sys.modules.setdefault(absent, types.ModuleType(absent))
sys.modules["hashserv"].client = sys.modules["hashserv.client"]

import bb.data  # noqa: E402
import bb.data_smart  # noqa: E402
import bb.parse  # noqa: E402

LAYER = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(LAYER / "lib"))

POLICY = str(LAYER / "conf/hsmsign/dev.yaml")
LOCAL = ("HSMSIGN_POLICY", "HSMSIGN_DEV_DIR", "HSMSIGN_HOST_CONFIG", "HSMSIGN_AGENT", "HSMSIGN_SOFTHSM", "HSMSIGN_CALL")


def datastore(mode, scratch, host_config="/etc/hsmsign/host.yaml"):
    d = bb.data_smart.DataSmart()
    for name, value in {
        "BBPATH": str(LAYER), "TOPDIR": scratch, "TMPDIR": scratch, "WORKDIR": scratch, "B": scratch, "PN": "x", "MACHINE": "m",
        "LAYERDIR_hsmsign": str(LAYER), "HSMSIGN_MODE": mode, "HSMSIGN_POLICY": POLICY, "STAGING_LIBDIR_NATIVE": "/s/usr/lib",
        "HSMSIGN_SOFTHSM": "/s/libsofthsm2.so", "HSMSIGN_DEV_DIR": scratch + "/dev", "UBOOT_MKIMAGE": "uboot-mkimage",
        "UBOOT_MKIMAGE_SIGN": "${UBOOT_MKIMAGE}", "IMAGE_FSTYPES": "ext4.verity", "SWUPDATE_SIGNING": "", "HSMSIGN_KEY_IDENTITY": "0123456789abcdef",
        "HSMSIGN_HOST_CONFIG": host_config, "FILE": "x.bb", "IMAGE_NAME": "n", "IMAGE_LINK_NAME": "l",
    }.items():
        d.setVar(name, value)
    return d


def parse(name, mode, scratch, host_config="/etc/hsmsign/host.yaml"):
    d = datastore(mode, scratch, host_config)
    bb.parse.handle(str(LAYER / "classes-global/hsmsign-hooks.bbclass"), d, True)
    d.setVar("__bbclasstype", "recipe")
    d.delVar("__BBDEFINHERITS")
    bb.parse.BBHandler.inherit(name, "x.bb", 1, d)
    return d


def main():
    tasks = {"hsmsign-uboot": "do_uboot_assemble_fitimage", "hsmsign-swupdate": "do_swuimage", "hsmsign-image": "do_image_ext4", "hsmsign": "do_x"}
    count = 0
    with tempfile.TemporaryDirectory() as scratch:
        for mode in ("dev", "release"):
            for path in sorted(LAYER.glob("classes-recipe/*.bbclass")):
                d = parse(path.stem, mode, scratch)
                count += 1
                ignored = d.getVar("BB_BASEHASH_IGNORE_VARS").split()
                for name in LOCAL:
                    assert name in ignored, "%s would be in task hashes" % name
                task = tasks.get(path.stem)
                if not task:
                    continue
                context = {"bb": bb, "d": d}
                exec(d.getVar("hsmsign_task", False), context)  # the class's own function, on the class's own datastore
                context["hsmsign_task"](d, task)
                flags = d.getVarFlags(task) or {}
                assert "HSMSIGN_MODE" in flags["vardeps"] and "HSMSIGN_KEY_IDENTITY" in flags["vardeps"], flags
                assert POLICY + ":True" in flags["file-checksums"], flags
                assert ("lockfiles" in flags) == (mode == "release"), flags
        # Without host settings the agent is asked, and has a queue of its own.
        assert parse("hsmsign", "release", scratch, "").getVar("HSMSIGN_AGENT") == "/run/hsmsign/agent.sock"
        # Behind native.bbclass insane.bbclass allows no other class.
        for inherited, ours in (("native", ""), ("nativesdk", ""), ("image", "hsmsign-recipe")):
            d = datastore("dev", scratch)
            bb.parse.handle(str(LAYER / "classes-global/hsmsign-hooks.bbclass"), d, True)
            d.setVar("__inherit_cache", ["/layer/classes-recipe/%s.bbclass" % inherited])
            deferred = [entry[0] if isinstance(entry, tuple) else entry for entry in d.getVar("__BBDEFINHERITS", False)]
            found = [d.expand(entry) for entry in deferred]
            assert found == [ours], (inherited, deferred, found)
    print("%d classes parsed" % count)


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    main()

# SPDX-License-Identifier: MIT OR Apache-2.0
"""oe-selftest -r hsmsign: for a build directory with network, meta-oe and this layer.

HSMSIGN_SELFTEST_IMAGE in the environment names an image to build instead of core-image-minimal.
"""

import os
import shutil

from oeqa.selftest.case import OESelftestTestCase
from oeqa.utils.commands import bitbake, get_bb_vars, runCmd

IMAGE = os.environ.get("HSMSIGN_SELFTEST_IMAGE", "core-image-minimal")

DEV = """
HSMSIGN_MODE = "dev"
HSMSIGN_DEV_DIR = "${TOPDIR}/hsmsign-selftest"
IMAGE_FSTYPES:pn-%s = "ext4.verity"
""" % IMAGE


class HsmsignTests(OESelftestTestCase):
    def setUpLocal(self):
        super().setUpLocal()
        self.addCleanup(shutil.rmtree, os.path.join(self.builddir, "hsmsign-selftest"), ignore_errors=True)

    def image(self):
        names = ["DEPLOY_DIR_IMAGE", "IMAGE_LINK_NAME"]
        values = get_bb_vars(names, IMAGE)
        return "%s/%s.ext4.verity" % tuple(values[name] for name in names)

    def hsmsign(self):
        """The built tool with dev mode's options, as a task calls it."""
        bitbake("hsmsign-native softhsm-native -c addto_recipe_sysroot")
        # A native recipe's bindir is absolute.
        values = get_bb_vars(["bindir", "HSMSIGN_POLICY", "HSMSIGN_DEV_DIR"], "hsmsign-native")
        softhsm = get_bb_vars(["RECIPE_SYSROOT_NATIVE", "libdir_native"], "softhsm-native")
        return "%s/hsmsign --mode dev --config %s --dev-dir %s --softhsm %s%s/softhsm/libsofthsm2.so" % (
            values["bindir"], values["HSMSIGN_POLICY"], values["HSMSIGN_DEV_DIR"],
            softhsm["RECIPE_SYSROOT_NATIVE"], softhsm["libdir_native"])

    def test_root_filesystem_verifies_and_refuses_a_changed_byte(self):
        self.write_config(DEV)
        bitbake(IMAGE)
        image, hsmsign = self.image(), self.hsmsign()
        runCmd("%s verify rootfs %s" % (hsmsign, image))
        copy = os.path.join(self.builddir, "hsmsign-selftest", "copy.verity")
        shutil.copyfile(image, copy)
        for beside in ("roothash", "roothash.p7s", "verity.json"):
            shutil.copyfile("%s.%s" % (image, beside), "%s.%s" % (copy, beside))
        with open(copy, "r+b") as file:
            file.seek(5000)
            byte = file.read(1)
            file.seek(5000)
            file.write(bytes([byte[0] ^ 1]))
        result = runCmd("%s verify rootfs %s" % (hsmsign, copy), ignore_status=True)
        self.assertEqual(result.status, 7, result.output)

    def test_other_keys_sign_anew(self):
        self.write_config(DEV)
        bitbake(IMAGE)
        with open(self.image() + ".roothash.p7s", "rb") as file:
            before = file.read()
        shutil.rmtree(os.path.join(self.builddir, "hsmsign-selftest"))
        bitbake(IMAGE)
        with open(self.image() + ".roothash.p7s", "rb") as file:
            self.assertNotEqual(before, file.read())

    def test_a_pin_variable_stops_the_build(self):
        self.write_config(DEV + 'HSMSIGN_PIN = "1234"\n')
        result = bitbake("-e", ignore_status=True)
        self.assertNotEqual(result.status, 0)
        self.assertIn("there is no variable for a PIN", result.output)

    def test_release_needs_a_policy(self):
        self.write_config('HSMSIGN_MODE = "release"\n')
        result = bitbake("-e", ignore_status=True)
        self.assertNotEqual(result.status, 0)
        self.assertIn("HSMSIGN_POLICY is not set; write", result.output)

"""Buildroot runtime test of the host package: sign, verify, corrupt, expect refusal.

Runs in Buildroot's support/testing; copy it to support/testing/tests/package/ or let buildroot.py do so.
"""

import os
import subprocess

import infra
import infra.basetest


def toolchain():
    """Buildroot's usual one, or what the file HSMSIGN_TEST_CONFIG holds in its place."""
    place = os.environ.get("HSMSIGN_TEST_CONFIG")
    if not place:
        return infra.basetest.BASIC_TOOLCHAIN_CONFIG
    with open(place) as f:
        # The runner sets these two itself
        return "".join(line for line in f if not line.startswith(("BR2_DL_DIR=", "BR2_JLEVEL=")))


class TestHostHsmsign(infra.basetest.BRHostPkgTest):
    hostpkgs = ["host-hsmsign", "host-hsmsign-softhsm"]
    br2_external = [os.environ.get("HSMSIGN_EXTERNAL", infra.filepath("tests/package/br2-external/hsmsign"))]
    config = \
        toolchain() + \
        infra.basetest.MINIMAL_CONFIG + \
        """
        BR2_PACKAGE_HOST_HSMSIGN=y
        BR2_PACKAGE_HOST_HSMSIGN_SOFTHSM=y
        """

    def hsmsign(self, *args):
        host = os.path.join(self.builddir, "host")
        return subprocess.call([
            os.path.join(host, "bin/hsmsign"),
            "--mode", "dev",
            "--dev-dir", os.path.join(self.builddir, "dev"),
            "--softhsm", os.path.join(host, "lib/softhsm/libsofthsm2.so"),
            *args], cwd=self.builddir)

    def test_run(self):
        image = os.path.join(self.builddir, "image")
        signed = image + ".verity"
        with open(image, "wb") as f:
            f.write(os.urandom(64 * 4096))

        self.assertEqual(self.hsmsign("sign", "rootfs", image, "-o", signed), 0)
        self.assertEqual(self.hsmsign("verify", "rootfs", signed), 0)

        with open(signed, "r+b") as f:
            f.seek(5000)
            byte = f.read(1)[0]
            f.seek(5000)
            f.write(bytes([byte ^ 1]))
        self.assertEqual(self.hsmsign("verify", "rootfs", signed), 7)

"""The package recipe against the source it builds: licences, hashes, archive."""

import hashlib
import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHECKOUT = ROOT.parent
PACK = ROOT / "package/hsmsign/pack-source.sh"


class Package(unittest.TestCase):
    def test_hashes_of_licence_files(self):
        for line in (ROOT / "package/hsmsign/hsmsign.hash").read_text().splitlines():
            if line.startswith("#"):
                continue
            kind, value, name = line.split()
            if (CHECKOUT / name).exists():
                self.assertEqual(kind, "sha256")
                self.assertEqual(hashlib.sha256((CHECKOUT / name).read_bytes()).hexdigest(), value, name)

    def test_every_licence_allowed_for_crates_is_named(self):
        """deny.toml allows what the recipe's licence line has to name."""
        deny = (CHECKOUT / "deny.toml").read_text()
        allowed = re.search(r"^allow = \[(.*?)\]", deny, re.M | re.S)
        recipe = (ROOT / "package/hsmsign/hsmsign.mk").read_text()
        named = re.search(r"^HSMSIGN_LICENSE = (.*?)\nHSMSIGN_LICENSE_FILES", recipe, re.M | re.S).group(1)
        for licence in re.findall(r'"([^"]+)"', allowed.group(1)):
            self.assertIn(licence.replace(" WITH ", " with "), named)

    def test_version_follows_the_source(self):
        def version():
            return subprocess.run([PACK, "--version"], check=True, capture_output=True, text=True).stdout

        self.assertRegex(version(), r"^\d+\.\d+\.\d+-[0-9a-f]{12}\n$")
        self.assertEqual(version(), version())

    def test_rust_that_the_menu_asks_for(self):
        """Kconfig refuses releases of Buildroot whose Rust is older than the crate's rust-version."""
        needed = re.search(r'^rust-version = "(.*)"', (CHECKOUT / "Cargo.toml").read_text(), re.M).group(1)
        self.assertIn(f"signing needs Rust {needed}", (ROOT / "Config.in").read_text())


if __name__ == "__main__":
    unittest.main()

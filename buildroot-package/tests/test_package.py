"""The package recipe against the source it builds: licences, hashes, archive."""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
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

    def test_a_link_to_the_external_tree_leads_to_the_same_source(self):
        with tempfile.TemporaryDirectory() as scratch:
            link = pathlib.Path(scratch, "link")
            link.symlink_to(ROOT)
            said = [subprocess.run([tree / PACK.relative_to(ROOT), "--version"], check=True, capture_output=True, text=True).stdout
                    for tree in (ROOT, link)]
            self.assertEqual(said[0], said[1])

    def test_version_ignores_what_the_build_does_not_need(self):
        """A changed changelog or test shall not cost users a new archive and a new build of the tool."""
        with tempfile.TemporaryDirectory() as place:
            root = pathlib.Path(place)
            for name in ("Cargo.toml", "signer/src", "buildroot-package/package"):
                copy = shutil.copytree if (CHECKOUT / name).is_dir() else shutil.copy
                (root / name).parent.mkdir(exist_ok=True)
                copy(CHECKOUT / name, root / name)
            pack = root / "buildroot-package/package/hsmsign/pack-source.sh"

            def version():
                return subprocess.run([pack, "--version"], check=True, capture_output=True, text=True).stdout

            before = version()
            for name in ("CHANGELOG.md", "docs/buildroot.md", "signer/tests/cli.rs", "meta-hsmsign/README.md"):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text("new\n")
                self.assertEqual(version(), before, name)
            seen = {before}
            for name in ("Cargo.lock", "LICENSE-MIT", "signer/src/main.rs", "signer/build.rs", "signer/data/new.tsv"):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text("new\n")
                self.assertNotIn(version(), seen, name)
                seen.add(version())

    def test_another_source_than_make_saw_is_not_packed(self):
        """Make asks for the version first; what is packed under that name must be that source."""
        with tempfile.TemporaryDirectory() as place:
            archive = pathlib.Path(place) / "source.tar.gz"
            done = subprocess.run([PACK, "-o", archive, "0.1.0-000000000000"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 1)
            self.assertIn("the source changed", done.stderr)
            self.assertEqual(os.listdir(place), [])

    def test_settings_of_the_host_package_are_read(self):
        """Buildroot's cargo infrastructure takes nothing from HSMSIGN_CARGO_* for a host package."""
        recipe = (ROOT / "package/hsmsign/hsmsign.mk").read_text()
        self.assertNotRegex(recipe, r"(?m)^HSMSIGN_(CARGO|DEPENDENCIES|CONF|MAKE)")

    @unittest.skipUnless(shutil.which("cargo"), "cargo is not installed")
    def test_packed_source_needs_no_network(self):
        """An empty cargo home and --offline: every crate must come out of the archive."""
        with tempfile.TemporaryDirectory() as place:
            archive = pathlib.Path(place) / "source.tar.gz"
            subprocess.run([PACK, "-o", archive], check=True)
            digest = hashlib.sha256(archive.read_bytes()).hexdigest()
            self.assertEqual(pathlib.Path(f"{archive}.hash").read_text(), f"sha256  {digest}  source.tar.gz\n")
            subprocess.run(["tar", "-C", place, "-xf", archive], check=True)
            source = next(pathlib.Path(place).glob("hsmsign-*/signer"))
            subprocess.run(["cargo", "metadata", "--offline", "--locked", "--format-version", "1"], cwd=source,
                           env={**os.environ, "CARGO_HOME": f"{place}/home"}, check=True, capture_output=True)
            index = (source.parent / "LICENSES-crates/INDEX.tsv").read_text().splitlines()
            self.assertTrue(index and all(row.split("\t")[1] for row in index), "a crate names no licence")

    def test_rust_that_the_menu_asks_for(self):
        """Kconfig refuses releases of Buildroot whose Rust is older than the crate's rust-version."""
        needed = re.search(r'^rust-version = "(.*)"', (CHECKOUT / "Cargo.toml").read_text(), re.M).group(1)
        self.assertIn(f"signing needs Rust {needed}", (ROOT / "Config.in").read_text())


if __name__ == "__main__":
    unittest.main()

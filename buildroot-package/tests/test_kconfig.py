"""Kconfig of the external tree, parsed without Buildroot: every combination."""

import itertools
import os
import pathlib
import re
import unittest
import warnings

import kconfiglib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent

MODES = ("OFF", "DEV", "RELEASE")
FITS = ("NONE", "AUTO", "ITS", "FILE")


def parse(version="2026.05.1"):
    os.environ["BR2_VERSION"] = version
    os.environ["BR2_EXTERNAL_HSMSIGN_PATH"] = str(ROOT)
    os.environ["CONFIG_DIR"] = "$(CONFIG_DIR)"
    kconf = kconfiglib.Kconfig(str(HERE / "kconfig/Config.in"), warn_to_stderr=False)
    kconf.warn_assign_override = False
    return kconf


def value(kconf, name):
    return kconf.syms["BR2_" + name].str_value


def put(kconf, name, val):
    kconf.syms["BR2_" + name].set_value(val)


class Combinations(unittest.TestCase):
    # What Buildroot may be set to, times what we may be set to
    BASE = ("LINUX_KERNEL", "TARGET_ROOTFS_EXT2", "TARGET_ROOTFS_SQUASHFS",
            "TARGET_ROOTFS_EROFS", "TARGET_UBOOT", "TARGET_UBOOT_SPL")

    def each(self):
        kconf = parse()
        put(kconf, "PACKAGE_HOST_RUSTC_ARCH_SUPPORTS", 2)
        for bits in itertools.product((0, 2), repeat=len(self.BASE)):
            base = dict(zip(self.BASE, bits))
            if base["TARGET_UBOOT_SPL"] and not base["TARGET_UBOOT"]:
                continue
            for mode, fit, ours in itertools.product(MODES, FITS, (0, 2)):
                kconf.unset_values()
                put(kconf, "PACKAGE_HOST_RUSTC_ARCH_SUPPORTS", 2)
                for name, bit in base.items():
                    put(kconf, name, bit)
                put(kconf, "HSMSIGN_" + mode, 2)
                put(kconf, "HSMSIGN_FIT_" + fit, 2)
                for name in ("ROOTFS_EXT2", "ROOTFS_SQUASHFS", "ROOTFS_EROFS", "UBOOT",
                             "UBOOT_FIT", "SWU", "ROOTFS_HASH_FILE", "GATE"):
                    put(kconf, "HSMSIGN_" + name, ours)
                yield kconf, base, mode, fit, ours

    def test_every_combination(self):
        count = 0
        for kconf, base, mode, fit, ours in self.each():
            count += 1
            with self.subTest(base=base, mode=mode, fit=fit, ours=ours):
                self.check(kconf, base, mode, fit, ours)
        self.assertGreater(count, 1000)

    def check(self, kconf, base, mode, fit, ours):
        def on(name):
            return value(kconf, name) == "y"

        signing = mode != "OFF"
        self.assertTrue(on("HSMSIGN_" + mode))
        self.assertEqual(sum(on("HSMSIGN_" + m) for m in MODES), 1)
        self.assertEqual(on("PACKAGE_HOST_HSMSIGN"), signing)
        self.assertEqual(on("PACKAGE_HOST_RUSTC"), signing)
        self.assertEqual(on("PACKAGE_HOST_HSMSIGN_SOFTHSM"), mode == "DEV")
        self.assertEqual(on("HSMSIGN_GATE"), mode == "RELEASE" and bool(ours))

        for kind in ("EXT2", "SQUASHFS", "EROFS"):
            self.assertEqual(on("HSMSIGN_ROOTFS_" + kind),
                             signing and bool(base["TARGET_ROOTFS_" + kind]) and bool(ours))
        rootfs = any(on("HSMSIGN_ROOTFS_" + k) for k in ("EXT2", "SQUASHFS", "EROFS"))
        self.assertEqual(on("HSMSIGN_ROOTFS"), rootfs)
        self.assertEqual(on("HSMSIGN_ROOTFS_HASH_FILE"), rootfs and bool(ours))

        # A kind of FIT that cannot be had falls back to none, never to another
        possible = signing and (fit != "AUTO" or bool(base["LINUX_KERNEL"]))
        if signing:
            self.assertTrue(on("HSMSIGN_FIT_" + (fit if possible else "NONE")))
        names = on("HSMSIGN_FIT_HAS_ROOTFS")
        self.assertEqual(names, possible and fit != "NONE" and rootfs)
        named = [k for k in ("EXT2", "SQUASHFS", "EROFS") if on("HSMSIGN_FIT_ROOTFS_" + k)]
        self.assertEqual(len(named), int(names))
        for kind in named:
            self.assertTrue(on("HSMSIGN_ROOTFS_" + kind), "the FIT names an unsigned rootfs")

        self.assertEqual(on("HSMSIGN_UBOOT"), signing and bool(base["TARGET_UBOOT"]) and bool(ours))
        uboot_fit = signing and bool(base["TARGET_UBOOT_SPL"]) and bool(ours)
        self.assertEqual(on("HSMSIGN_UBOOT_FIT"), uboot_fit)
        self.assertEqual(on("PACKAGE_HOST_UBOOT_TOOLS_FIT_SUPPORT"),
                         uboot_fit or (possible and fit in ("AUTO", "ITS")))
        self.assertEqual(on("HSMSIGN_SWU"), signing and bool(ours))
        # A select must never force what dependencies forbid
        for sym in kconf.unique_defined_syms:
            if kconfiglib.expr_value(sym.rev_dep) > kconfiglib.expr_value(sym.direct_dep):
                self.fail(f"{sym.name} is selected against its dependencies")


class Versions(unittest.TestCase):
    def offered(self, version):
        kconf = parse(version)
        put(kconf, "PACKAGE_HOST_RUSTC_ARCH_SUPPORTS", 2)
        put(kconf, "HSMSIGN_DEV", 2)
        return value(kconf, "HSMSIGN_DEV") == "y"

    def test_buildroot_with_new_rust_can_sign(self):
        for version in ("2025.08", "2025.11.1", "2026.02.3", "2026.05.1", "2026.08-rc1", "2027.02"):
            self.assertTrue(self.offered(version), version)

    def test_buildroot_with_old_rust_cannot(self):
        for version in ("2024.02.3", "2025.02", "2025.02.16", "2025.05.3"):
            self.assertFalse(self.offered(version), version)

    def test_old_rust_is_said(self):
        kconf = parse("2025.02.16")
        put(kconf, "PACKAGE_HOST_RUSTC_ARCH_SUPPORTS", 2)
        said = [n.prompt[0] for n in kconf.node_iter()
                if n.item is kconfiglib.COMMENT and kconfiglib.expr_value(n.prompt[1])]
        self.assertTrue(any("2025.02 has 1.82" in s for s in said), said)


class Reference(unittest.TestCase):
    """The table of options in docs/buildroot.md against Config.in."""

    def setUp(self):
        text = (ROOT.parent / "docs/buildroot.md").read_text()
        rows = re.findall(r"^\| `(BR2_[A-Z0-9_]+)` \| (.*?) ?\| (.*?) ?\|$", text, re.M)
        self.rows = {name: default.strip("`") for name, default, _ in rows}
        self.assertEqual(len(rows), len(self.rows), "an option stands there twice")
        self.kconf = parse()
        self.ours = [s for s in self.kconf.unique_defined_syms
                     if s.name.startswith(("BR2_HSMSIGN_", "BR2_PACKAGE_HOST_HSMSIGN")) and s.nodes[0].prompt]

    def test_every_option_is_there_and_nothing_else(self):
        self.assertEqual(sorted(self.rows), sorted(s.name for s in self.ours))

    def test_defaults(self):
        for symbol in self.ours:
            if symbol.choice:
                chosen = symbol.choice.defaults[0][0] if symbol.choice.defaults else symbol.choice.syms[0]
                declared = {"y" if symbol is chosen else "n"}
            elif symbol.defaults:
                declared = {value.str_value for value, _ in symbol.defaults}
            else:
                declared = {"n" if symbol.orig_type == kconfiglib.BOOL else ""}
            if symbol.name in ("BR2_HSMSIGN_UBOOT_DTBS",):
                declared.add("")  # its default depends on what U-Boot installs
            with self.subTest(symbol.name):
                self.assertIn(self.rows[symbol.name], declared)


class Texts(unittest.TestCase):
    def test_every_option_has_help(self):
        kconf = parse()
        for node in kconf.node_iter(unique_syms=True):
            if node.prompt and node.item in kconf.unique_defined_syms:
                ours = str(ROOT) in os.path.realpath(node.filename) and "tests" not in node.filename
                if ours:
                    self.assertTrue(node.help, node.item.name)

    def test_parses_without_warnings(self):
        self.assertEqual(parse().warnings, [])

    def test_no_option_for_a_pin(self):
        for sym in parse().unique_defined_syms:
            self.assertNotRegex(sym.name, r"(?i)(^|_)(PIN|PASSWORD|SECRET)(_|$)")

    def test_external_mk_knows_every_option(self):
        """An option that no makefile reads would be a promise without effect."""
        text = "".join(p.read_text() for p in [ROOT / "external.mk", *ROOT.glob("package/*/*.mk")])
        kconfig = "".join(p.read_text() for p in [ROOT / "Config.in"])
        for sym in parse().unique_defined_syms:
            if not sym.name.startswith("BR2_HSMSIGN_"):
                continue
            if sym.name in ("BR2_HSMSIGN_OFF", "BR2_HSMSIGN_FIT_NONE") or not sym.nodes[0].prompt:
                continue
            inner = f"if {sym.name}" in kconfig or f"depends on {sym.name}" in kconfig
            self.assertTrue(sym.name in text or inner, sym.name)


if __name__ == "__main__":
    warnings.simplefilter("error")
    unittest.main()

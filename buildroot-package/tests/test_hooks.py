"""sign-images.sh against a fake images directory, a fake tool and a fake mkimage.

The fake tool "signs" by writing who signed what, so that each test reads off which files were
signed in which mode, from which input, in which order.
"""

import os
import pathlib
import shutil
import socket
import stat
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "support/sign-images.sh"

TOOL = r"""#!/usr/bin/env bash
set -eu
echo "$*" >> "${FAKE_LOG}"
env | grep '^HSMSIGN_' | grep -v '^HSMSIGN_BR_' >> "${FAKE_LOG}.env" || true
args=("$@")
option() { local i; for i in "${!args[@]}"; do
    [ "${args[$i]}" = "$1" ] && { echo "${args[$((i + 1))]}"; return; }; done; true; }
# The argument after "sign KIND"
input() { local i; for i in "${!args[@]}"; do
    [ "${args[$i]}" = sign ] && { echo "${args[$((i + 2))]}"; return; }; done; true; }
# Waits until the other check has begun, where a test asks for it
meet() { local i; [ -n "${FAKE_MEET:-}" ] || return 0; : > "${FAKE_MEET}/$1"
    for i in {1..300}; do [ ! -e "${FAKE_MEET}/$2" ] || return 0; sleep 0.1; done; echo "alone" >&2; exit 9; }
mode="$(option --mode)"
key="${FAKE_KEY:-key-1}"
case "$*" in
*"--help"*) printf '%b' "${FAKE_HELP:-}" ;;
*" sign rootfs "*)
    out="$(option -o)"; in="$(input)"
    [ ! -e "${FAKE_FAIL:-/nonexistent}" ] || exit 5
    { cat "${in}"; echo "tree"; } > "${out}"
    echo "${mode} ${key}" > "${out}.roothash.p7s"; echo hash > "${out}.roothash"
    echo '{}' > "${out}.verity.json" ;;
*" sign fit "*)
    in="$(input)"
    { cat "${in}"; echo "signed ${mode} ${key}"; } > "$(option -o)" ;;
*" sign bootloader "*)
    for o in --u-boot-bin --control-dtb --spl-dtb; do
        f="$(option "${o}")"; [ -z "${f}" ] || echo "trusts ${mode} ${key}" >> "${f}"; done
    f="$(option --fit)"
    [ -z "${f}" ] || { cat "${f}"; echo "signed ${mode} ${key}"; } > "$(option -o)" ;;
*" sign swu "*) { cat "$(option --description)"; echo "signed ${mode} ${key}"; } > "$(option -o)" ;;
*" keys certificate "*) echo "certificate ${mode}" > "$(option -o)" ;;
*" verify deploy "*) meet gate scan; echo "gate's findings"; exit "${FAKE_GATE:-0}" ;;
*" scan "*) meet scan gate; echo "scan's findings" >&2; exit "${FAKE_SCAN:-0}" ;;
*) echo "unknown: $*" >&2; exit 2 ;;
esac
"""

MKIMAGE = r"""#!/usr/bin/env bash
set -eu
# -D DTC-OPTIONS -f SOURCE OUT; names in /incbin/ must be there, as for the real one
shift 2
sed -n 's,.*/incbin/("\(.*\)").*,\1,p' "$2" | while read -r name; do
    [ -f "${name}" ] || { printf 'no %s\nUsage: mkimage -l image\n   -l ==> list\nUse -T list\n' "${name}" >&2; exit 1; }
done
{ echo "FIT of $(basename "$2")"; cat "$2"; } > "$3"
"""


class Hooks(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hooks "))  # with a space, on purpose
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.images = self.dir / "images"
        self.state = self.dir / "build/.hsmsign"
        self.images.mkdir()
        for name, text in (("hsmsign", TOOL), ("mkimage", MKIMAGE)):
            (self.dir / name).write_text(text)
            (self.dir / name).chmod(0o755)
        for name in ("rootfs.ext2", "rootfs.squashfs", "Image", "board.dtb", "vendor,b.dtb",
                     "u-boot.bin", "u-boot.dtb"):
            (self.images / name).write_text(f"unsigned {name}\n")
        (self.images / "rootfs.ext4").symlink_to("rootfs.ext2")
        (self.dir / "sw-description").write_text("description\n")
        (self.dir / "hsmsign.yaml").write_text("version: 1\n")
        self.log = self.dir / "log"
        self.before = self.snapshot()
        self.settings = dict(
            TOOL=self.dir / "hsmsign", MKIMAGE=self.dir / "mkimage", MODE="dev", IMAGES=self.images,
            STATE=self.state, PRODUCT="gateway", DEV_DIR=self.dir / "dev",
            ROOTFS="rootfs.ext4 rootfs.squashfs", FIT="auto", FIT_NAME="image.itb",
            FIT_ARCH="arm64", FIT_KERNEL="Image", FIT_LOAD="0x40200000",
            FIT_DTBS="board.dtb vendor,b.dtb", FIT_ROOTFS="rootfs.squashfs", UBOOT="y",
            UBOOT_BINS="u-boot.bin", UBOOT_DTBS="u-boot.dtb", SWU="y", SWU_NAME="update.swu",
            SWU_DESCRIPTION=self.dir / "sw-description",
            SWU_IMAGES="image.itb rootfs.squashfs.verity")

    def snapshot(self):
        return {str(p.relative_to(self.images)): p.read_bytes()
                for p in sorted(self.images.rglob("*")) if p.is_file()}

    def run_script(self, verb="sign", env=None, wrap=(), **changes):
        settings = {**self.settings, **changes}
        full = {"PATH": os.environ["PATH"], "FAKE_LOG": str(self.log), **(env or {})}
        full.update({f"HSMSIGN_BR_{k}": str(v) for k, v in settings.items()})
        return subprocess.run([*wrap, str(SCRIPT), verb], env=full, capture_output=True, text=True)

    def sign(self, **kwargs):
        done = self.run_script(**kwargs)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def refused(self, *words, **kwargs):
        done = self.run_script(**kwargs)
        self.assertNotEqual(done.returncode, 0)
        for word in words:
            self.assertIn(word, done.stderr)
        return done

    def text(self, name):
        return (self.images / name).read_text()

    def calls(self):
        return self.log.read_text().splitlines() if self.log.exists() else []


class Signing(Hooks):
    def test_everything_is_signed_in_dependency_order(self):
        self.sign()
        kinds = [c.split(" sign ")[1].split()[0] for c in self.calls() if " sign " in c]
        self.assertEqual(kinds, ["rootfs", "rootfs", "fit", "bootloader", "bootloader", "swu"])
        for name in ("rootfs.ext4.verity", "rootfs.ext4.verity.roothash.p7s", "image.itb", "update.swu"):
            self.assertIn(name, self.snapshot())
        self.assertIn("trusts dev", self.text("u-boot.bin"))
        self.assertIn("trusts dev", self.text("u-boot.dtb"))
        self.assertEqual(self.text("rootfs.ext4"), "unsigned rootfs.ext2\n")

    def test_the_fit_names_the_root_filesystem(self):
        self.sign()
        call = next(c for c in self.calls() if " sign fit " in c)
        self.assertIn("rootfs.squashfs.verity.verity.json", call)

    def test_the_fit_has_a_configuration_per_device_tree(self):
        self.sign()
        fit = self.text("image.itb")
        self.assertIn('default = "conf-board";', fit)
        self.assertIn("conf-vendor_b {", fit)
        self.assertIn('fdt = "fdt-vendor_b";', fit)
        self.assertEqual(fit.count("{"), fit.count("}"))

    def test_signing_twice_gives_the_same_files(self):
        self.sign()
        first = self.snapshot()
        self.sign()
        self.assertEqual(self.snapshot(), first)

    def test_a_change_of_mode_leaves_nothing_of_the_old_one(self):
        self.sign()
        self.sign(MODE="release", POLICY=self.dir / "hsmsign.yaml")
        for name, data in self.snapshot().items():
            self.assertNotIn(b"dev key", data, name)
        self.assertEqual(self.text("u-boot.bin").count("trusts"), 1)

    def test_a_change_of_keys_is_seen(self):
        self.sign()
        self.sign(env={"FAKE_KEY": "key-2"})
        for name, data in self.snapshot().items():
            self.assertNotIn(b"key-1", data, name)

    def test_a_package_built_again_is_taken_fresh(self):
        self.sign()
        (self.images / "u-boot.bin").write_text("unsigned, new\n")
        self.sign()
        self.assertEqual(self.text("u-boot.bin"), "unsigned, new\ntrusts dev key-1\n")

    def test_off_puts_everything_back(self):
        self.sign()
        self.sign(verb="restore")
        self.assertEqual(self.snapshot(), self.before)
        self.assertFalse(self.state.exists())

    def test_an_artifact_switched_off_disappears(self):
        self.sign()
        self.sign(SWU="", ROOTFS="rootfs.squashfs")
        self.assertNotIn("update.swu", self.snapshot())
        self.assertNotIn("rootfs.ext4.verity", self.snapshot())

    def test_a_failed_run_leaves_no_old_signature(self):
        self.sign()
        (self.dir / "fail").touch()
        done = self.run_script(env={"FAKE_FAIL": str(self.dir / "fail")})
        self.assertEqual(done.returncode, 5)
        self.assertEqual(self.snapshot(), self.before)

    def test_a_run_killed_while_signing_in_place_is_mended(self):
        self.sign()
        (self.images / "u-boot.bin").write_text("half written")
        (self.state / "signed/u-boot.bin").write_text("any\n")
        self.sign()
        self.assertEqual(self.text("u-boot.bin"), "unsigned u-boot.bin\ntrusts dev key-1\n")

    def test_a_fit_made_elsewhere_is_signed_in_place(self):
        (self.images / "image.itb").write_text("theirs\n")
        self.sign(FIT="file")
        self.sign(FIT="file")
        self.assertEqual(self.text("image.itb"), "theirs\nsigned dev key-1\n")

    def test_a_users_its_is_compiled_in_the_images_directory(self):
        its = self.dir / "my board.its"
        its.write_text('x = /incbin/("Image");\n')
        self.sign(FIT="its", FIT_ITS=its)
        self.assertIn("FIT of my board.its", self.text("image.itb"))

    def test_update_certificate_goes_into_the_fit(self):
        self.sign(FIT_UPDATE_CERTIFICATE="y")
        call = next(c for c in self.calls() if " sign fit " in c)
        self.assertIn("--update-certificate", call)

    def test_the_callers_environment_decides_nothing(self):
        self.sign(env={"HSMSIGN_MODE": "release", "HSMSIGN_CONFIG": "/x", "HSMSIGN_DEV_DIR": "/y",
                       "HSMSIGN_AGENT": "/z"})
        self.assertEqual((self.dir / "log.env").read_text(), "")
        self.assertTrue(all("--mode dev" in c for c in self.calls()))

    def socket(self):
        path = str(self.dir / "agent.sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        self.addCleanup(listener.close)
        return path

    def test_the_agent_is_asked_in_release_alone(self):
        agent = self.socket()
        self.sign(MODE="release", POLICY=self.dir / "hsmsign.yaml", AGENT=agent)
        said = (self.dir / "log.env").read_text().splitlines()
        self.assertEqual(set(said), {f"HSMSIGN_AGENT={agent}"})
        (self.dir / "log.env").unlink()
        self.sign(AGENT=agent)
        self.assertEqual((self.dir / "log.env").read_text(), "")

    def test_spl(self):
        build = self.dir / "uboot"
        (build / "spl").mkdir(parents=True)
        for name in ("u-boot-nodtb.bin", "u-boot.dtb", "spl/u-boot-spl-nodtb.bin",
                     "spl/u-boot-spl-pad.bin", "spl/u-boot-spl.dtb"):
            (build / name).write_text(name + "\n")
        (build / ".config").write_text("CONFIG_TEXT_BASE=0x4000000\n")
        whole = "spl/u-boot-spl-nodtb.bin\nspl/u-boot-spl-pad.bin\nspl/u-boot-spl.dtb\n"
        (self.images / "u-boot-spl.bin").write_text(whole)
        spl = dict(UBOOT_FIT="y", UBOOT_DIR=build, UBOOT_FIT_NAME="u-boot.itb", SPL="u-boot-spl.bin")
        self.sign(**spl)
        self.sign(**spl)
        self.assertEqual(self.text("u-boot-spl.bin"), whole + "trusts dev key-1\n")
        self.assertIn("load = <0x4000000>", self.text("u-boot.itb"))
        self.assertIn("trusts dev", self.text("hsmsign-u-boot.dtb"))
        (self.images / "u-boot-spl.bin").write_text("wrapped by the vendor's tool")
        self.refused("cannot be put together again", **spl)


class BadInput(Hooks):
    def test_release_without_policy(self):
        self.refused("needs a policy", "BR2_HSMSIGN_POLICY", MODE="release")
        self.assertEqual(self.calls(), [])

    def test_policy_that_is_not_there(self):
        self.refused("cannot be read", "BR2_HSMSIGN_POLICY", POLICY="/nowhere/hsmsign.yaml")

    def test_host_settings_that_are_not_there(self):
        self.refused("BR2_HSMSIGN_HOST_CONFIG", MODE="release", POLICY=self.dir / "hsmsign.yaml",
                     HOST_CONFIG="/nowhere")

    def test_agent_that_is_not_there(self):
        self.refused("BR2_HSMSIGN_AGENT", "hsmsign agent", MODE="release", POLICY=self.dir / "hsmsign.yaml",
                     AGENT="/nowhere.sock")
        self.assertEqual(self.calls(), [])

    def test_missing_device_tree(self):
        self.refused("'other.dtb' is not in the images directory", "BR2_HSMSIGN_FIT_DTBS",
                     FIT_DTBS="board.dtb other.dtb")

    def test_missing_incbin_in_a_users_its(self):
        its = self.dir / "own.its"
        its.write_text('data = /incbin/("nix.dtb");\n')
        done = self.refused("no nix.dtb", "cannot compile", FIT="its", FIT_ITS=its)
        # mkimage's list of options would hide what is wrong
        for word in ("Usage", "==>", "Use -T"):
            self.assertNotIn(word, done.stderr)

    def test_missing_kernel(self):
        (self.images / "Image").unlink()
        self.refused("'Image' is not in the images directory", "linux-rebuild")

    def test_missing_load_address(self):
        self.refused("BR2_HSMSIGN_FIT_LOAD", FIT_LOAD="")

    def test_load_address_that_is_code(self):
        self.refused("BR2_HSMSIGN_FIT_LOAD", FIT_LOAD="0>; x = <1")

    def test_uimage_in_a_fit(self):
        self.refused("cannot hold a 'uImage'", FIT_KERNEL="uImage")

    def test_root_hash_without_a_device_tree(self):
        self.refused("no device tree", "BR2_HSMSIGN_FIT_HAS_ROOTFS", FIT_DTBS="")

    def test_artifact_enabled_but_not_built(self):
        self.refused("'u-boot-dtb.bin' is not in the images directory", "BR2_HSMSIGN_UBOOT_BINS",
                     UBOOT_BINS="u-boot-dtb.bin")

    def test_bundle_with_a_missing_image(self):
        self.refused("'data.img'", "BR2_HSMSIGN_SWU_IMAGES", SWU_IMAGES="data.img")

    def test_bundle_without_description(self):
        self.refused("BR2_HSMSIGN_SWU_DESCRIPTION", SWU_DESCRIPTION="")

    def test_tool_not_built(self):
        self.refused("make host-hsmsign", TOOL="/nowhere/hsmsign")

    def test_read_only_output(self):
        """One message before anything is touched. Root writes everywhere, so the mount is read-only for root."""
        self.sign()
        before = self.snapshot()
        wrap = ()
        if os.geteuid() == 0:
            wrap = ("unshare", "-m", "sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"',
                    str(self.images))
            if subprocess.run([*wrap, "true"], capture_output=True).returncode != 0:
                self.skipTest("root without the right to mount")
        else:
            self.images.chmod(stat.S_IRUSR | stat.S_IXUSR)
            self.addCleanup(self.images.chmod, 0o755)
        done = self.refused("is not writable", wrap=wrap)
        self.assertEqual(len(done.stderr.splitlines()), 2, "one message and its hint")
        self.assertEqual(self.snapshot(), before)


class Gate(Hooks):
    def gate(self, **env):
        return self.run_script(verb="gate", MODE="release", POLICY=self.dir / "hsmsign.yaml",
                               env={"FAKE_HELP": "  scan  y\\n", **env})

    def test_both_checks_run_over_the_images(self):
        self.assertEqual(self.gate().returncode, 0)
        self.assertEqual(sorted(c.split("hsmsign.yaml ")[1] for c in self.calls()),
                         ["--help", f"scan {self.images}", f"verify deploy --trust release {self.images}"])

    def test_the_checks_run_at_the_same_time_and_speak_one_after_the_other(self):
        done = self.gate(FAKE_MEET=str(self.dir), FAKE_SCAN="7")
        self.assertNotIn("alone", done.stdout + done.stderr)
        self.assertEqual(done.stdout, "gate's findings\nscan's findings\n")
        self.assertIn("the leak scan found", done.stderr)

    def test_findings_fail_the_build(self):
        for findings, words in (({"FAKE_GATE": "7"}, "the release gate found"),
                                ({"FAKE_SCAN": "7"}, "the leak scan found"),
                                ({"FAKE_GATE": "7", "FAKE_SCAN": "7"}, "the release gate and the leak scan found")):
            with self.subTest(words):
                done = self.gate(**findings)
                self.assertEqual(done.returncode, 1)
                self.assertIn(words, done.stderr)
                self.assertTrue(any(" scan " in call for call in self.calls()))

    def test_a_tool_without_the_gate_does_not_pass(self):
        """An old archive may be one; what is not checked must not count as checked."""
        self.assertNotEqual(self.gate(FAKE_GATE="2").returncode, 0)

    def test_a_scan_that_is_not_there_is_named(self):
        done = self.gate(FAKE_HELP="")
        self.assertEqual(done.returncode, 0)
        self.assertIn("no 'scan'", done.stdout)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: MIT OR Apache-2.0
"""lib/hsmsign without bitbake."""

import os
import pathlib
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest

LAYER = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(LAYER / "lib"))

from hsmsign import command, devset, gate, hooks, policy, settings  # noqa: E402

SIGNER = LAYER.parent / "signer"


class Scratch(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = pathlib.Path(directory.name)
        self.softhsm = self.path / "libsofthsm2.so"
        self.softhsm.touch()

    def write(self, name, text):
        path = self.path / name
        path.write_text(text)
        return str(path)

    def dev(self, **more):
        variables = {
            "HSMSIGN_MODE": "dev",
            "HSMSIGN_POLICY": str(LAYER / "conf/hsmsign/dev.yaml"),
            "HSMSIGN_DEV_DIR": str(self.path / "dev"),
            "HSMSIGN_SOFTHSM": str(self.softhsm),
            "HSMSIGN_HOOKS": " ".join(settings.HOOKS),
        }
        variables.update({"HSMSIGN_" + name: value for name, value in more.items()})
        return variables

    def release(self, **more):
        file = self.write("hsmsign.yaml", "version: 1\nproduct: x\nrelease:\n  keys: {}\n")
        return self.dev(MODE="release", POLICY=file, **more)

    def refused(self, variables, *words, names=(), environment=()):
        with self.assertRaises(settings.SettingsError) as caught:
            settings.check(variables, names, environment, ["core"])
        for word in words:
            self.assertIn(word, str(caught.exception))
        return str(caught.exception)


class Settings(Scratch):
    def test_dev_needs_nothing_but_a_module(self):
        identity = settings.check(self.dev(), [], [], ["core"])
        self.assertRegex(identity, r"^[0-9a-f]{16}$")

    def test_meta_oe_brings_the_module(self):
        settings.check(self.dev(SOFTHSM=""), [], [], ["core", "openembedded-layer"])
        self.refused(self.dev(SOFTHSM=""), "HSMSIGN_SOFTHSM is not set; write HSMSIGN_SOFTHSM =", "meta-oe")

    def test_unknown_mode(self):
        self.refused(self.dev(MODE="production"), 'HSMSIGN_MODE = "production": unknown mode; write HSMSIGN_MODE =')

    def test_policy(self):
        self.refused(self.dev(MODE="release", POLICY=""), "HSMSIGN_POLICY is not set; write HSMSIGN_POLICY =")
        self.refused(self.dev(POLICY="hsmsign.yaml"), 'HSMSIGN_POLICY = "hsmsign.yaml": not an absolute path')
        self.refused(self.dev(POLICY="/nowhere/h.yaml"), "there is no such file")
        self.refused(self.dev(MODE="release"), "no `release:` section")

    def test_release_is_identified_by_its_policy(self):
        self.assertEqual(settings.check(self.release(), [], [], ["core"]), "release")
        self.assertFalse((self.path / "dev").exists(), "release mode has no dev directory")

    def test_agent(self):
        self.refused(self.release(AGENT=str(self.path / "none")), "HSMSIGN_AGENT = ", "no such file", "hsmsign agent")
        self.refused(self.release(AGENT=self.write("file", "")), "not a socket")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.path / "sock"))
            settings.check(self.release(AGENT=str(self.path / "sock")), [], [], ["core"])

    @unittest.skipIf(os.geteuid() == 0, "root reads everything")
    def test_unreadable_files(self):
        path = self.write("policy.yaml", "version: 1\n")
        os.chmod(path, 0)
        self.refused(self.dev(POLICY=path), "HSMSIGN_POLICY", "cannot be read")

    def test_dev_directory(self):
        self.refused(self.dev(DEV_DIR="keys"), 'HSMSIGN_DEV_DIR = "keys": not an absolute path')
        self.refused(self.dev(DEV_DIR=self.write("file", "")), "HSMSIGN_DEV_DIR", "write HSMSIGN_DEV_DIR")
        (self.path / "dev").mkdir()
        (self.path / "dev/set-id").write_text("not an id")
        self.refused(self.dev(), "HSMSIGN_DEV_DIR", "16 hexadecimal digits")

    def test_dev_directory_of_others(self):
        settings.check(self.dev(), [], [], ["core"])
        os.chmod(self.path / "dev", 0o777)
        self.refused(self.dev(), "HSMSIGN_DEV_DIR", "others can write to it", "chmod go-w")

    @unittest.skipIf(os.geteuid() == 0, "root writes everywhere")
    def test_dev_directory_that_is_read_only(self):
        settings.check(self.dev(), [], [], ["core"])
        os.chmod(self.path / "dev", 0o500)
        self.refused(self.dev(), "HSMSIGN_DEV_DIR", "cannot write there", "write HSMSIGN_DEV_DIR =")

    @unittest.skipUnless(os.geteuid() == 0, "only root gives files away")
    def test_somebody_elses(self):
        os.chown(self.softhsm, 12345, 12345)
        self.refused(self.dev(), "HSMSIGN_SOFTHSM", "belongs to another user")
        os.chown(self.softhsm, 0, 0)
        settings.check(self.dev(), [], [], ["core"])
        os.chown(self.path / "dev", 12345, 12345)
        self.refused(self.dev(), "HSMSIGN_DEV_DIR", "belongs to another user")

    def test_hooks(self):
        settings.check(self.dev(HOOKS=""), [], [], ["core"])
        self.refused(self.dev(HOOKS="fit rootfs"), "unknown hook `rootfs`")

    def test_binary(self):
        binary = self.write("hsmsign", "")
        self.refused(self.dev(BINARY=binary), "HSMSIGN_BINARY", "cannot be executed") if os.geteuid() else None
        os.chmod(binary, 0o755)
        settings.check(self.dev(BINARY=binary), [], [], ["core"])

    def test_a_pin_variable_is_refused_and_not_shown(self):
        for name in ("HSMSIGN_PIN", "HSMSIGN_RELEASE_PIN", "HSMSIGN_PIN_FIT:pn-x", "HSMSIGN_PASSWORD", "HSMSIGN_PASSPHRASE"):
            self.refused(self.release(), "there is no variable for a PIN", "HSMSIGN_AGENT", names=[name])
            self.refused(self.release(), "environment", "change that PIN", environment=[name])
        for name in ("HSMSIGN_POLICY", "HSMSIGN_SPINNER", "OTHER_PIN"):
            settings.check(self.release(), [name], [name], ["core"])


class SetId(Scratch):
    def test_made_once_with_modes_that_hsmsign_accepts(self):
        directory = str(self.path / "a/b")
        first = devset.set_id(directory)
        self.assertEqual(first, devset.set_id(directory))
        self.assertEqual(stat.S_IMODE(os.stat(directory).st_mode), 0o700)
        self.assertEqual(os.listdir(directory), ["set-id"])

    def test_two_at_once_agree(self):
        found = []
        threads = [threading.Thread(target=lambda: found.append(devset.set_id(str(self.path / "d")))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((len(found), len(set(found))), (16, 1))

    def test_directories_differ(self):
        self.assertNotEqual(devset.set_id(str(self.path / "a")), devset.set_id(str(self.path / "b")))

    def test_form_and_name_are_the_signers(self):
        text = (SIGNER / "src/key/dev/directory.rs").read_text()
        self.assertIn('"%s"' % devset.NAME, text)
        self.assertIn("id.len() == 16", text)


class Policy(Scratch):
    TEXT = """\
version: 1   # certs/commented-out.pem
release:
  keys:
    rootfs: { certificate: certs/root.pem, pins: ["sha256:aa"] }
    update:
      certificate: "certs/update.pem"
      chain: [ca/one.crt, 'ca/two.CER']
# certificate: certs/old.pem
"""

    def test_files(self):
        path = self.write("hsmsign.yaml", self.TEXT)
        names = [os.path.relpath(f, self.path) for f in policy.files(path)]
        self.assertEqual(names, ["hsmsign.yaml", "ca/one.crt", "ca/two.CER", "certs/root.pem", "certs/update.pem"])

    def test_release_section(self):
        self.assertTrue(policy.names_release_keys(self.write("a", self.TEXT)))
        self.assertFalse(policy.names_release_keys(self.write("b", "# release:\nroles:\n  release: 1\n")))


class Command(Scratch):
    def test_dev_names_everything(self):
        call = command.call(self.dev(SOFTHSM=""), "/sysroot/usr/lib")
        self.assertEqual(call[:5], ["env", "PSEUDO_UNLOAD=1", "hsmsign", "--mode", "dev"])
        self.assertEqual(call[-1], "/sysroot/usr/lib/softhsm/libsofthsm2.so")
        for option in ("--config", "--dev-dir", "--softhsm"):
            self.assertIn(option, call)

    def test_release_knows_no_dev_directory(self):
        call = command.call(self.release(AGENT="/run/a", HOST_CONFIG="/etc/h"), "/lib")
        self.assertEqual(call[:5], ["env", "PSEUDO_UNLOAD=1", "hsmsign", "--mode", "release"])
        self.assertEqual(call[-4:], ["--host-config", "/etc/h", "--agent", "/run/a"])
        self.assertNotIn("--dev-dir", call)
        self.assertNotIn("--softhsm", call)

    def test_dev_never_hears_of_the_agent(self):
        self.assertNotIn("/run/a", " ".join(command.call(self.dev(AGENT="/run/a", HOST_CONFIG="/etc/h"), "/lib")))

    def test_failure_names_a_variable(self):
        text = command.failure("release", ["sign", "fit", "x"], 5, "error: token `a` refused the PIN\n")
        self.assertEqual(text.splitlines(), [
            "hsmsign sign fit failed in mode release (exit code 5):",
            "error: token `a` refused the PIN",
            "See HSMSIGN_AGENT and HSMSIGN_HOST_CONFIG.",
        ])

    def test_a_shell_names_the_same_variables(self):
        for mode in ("dev", "release"):
            for code in range(2, 9):
                last = command.failure(mode, ["sign", "fit"], code, "").splitlines()[1:]
                script = "hsmsign_look=; case %d in %s esac; printf %%b \"$hsmsign_look\"" % (code, command.look_at_cases(mode))
                said = subprocess.run(["sh", "-ec", script], stdout=subprocess.PIPE, text=True, check=True).stdout
                self.assertEqual(said.strip().splitlines(), last)


class Hooks(unittest.TestCase):
    def test_classes(self):
        def found(*theirs, wanted=settings.HOOKS):
            return hooks.classes(wanted, lambda name: name in theirs)

        self.assertEqual(found("kernel-fit-image"), ["hsmsign-fit"])
        self.assertEqual(found("kernel-fitimage", "kernel"), ["hsmsign-fit"])
        self.assertEqual(found("image", "swupdate-common"), ["hsmsign-image", "hsmsign-swupdate"])
        self.assertEqual(found("uboot-sign", wanted=["fit"]), [])
        self.assertEqual(found("autotools"), [])

    def test_every_class_is_there(self):
        for _, _, ours in hooks._CLASSES:
            self.assertTrue((LAYER / "classes-recipe" / (ours + ".bbclass")).is_file(), ours)

    def test_assembling_tasks(self):
        self.assertEqual(hooks.assembling_tasks("kernel-fit-image".__eq__), ["do_compile"])
        self.assertEqual(hooks.assembling_tasks("kernel-fitimage".__eq__)[0], "do_assemble_fitimage")

    def test_a_disk_must_not_wait_for_itself(self):
        def found(**values):
            whole = {"PN": "i", "HSMSIGN_ROOTFS_IMAGE": "i", "HSMSIGN_HOOKS": "fit image", "KERNEL_CLASSES": " kernel-fitimage", **values}
            return hooks.disks_that_wait(["ext4.verity", "wic.gz"], whole.get)

        self.assertEqual(found(), ["wic.gz"])
        self.assertIn('"wic.gz"', hooks.disk_waits_for_itself("i", *found()))
        # A disk recipe of its own, another configuration's image, wrynose.
        self.assertEqual(found(PN="disk"), [])
        self.assertEqual(found(HSMSIGN_ROOTFS_MULTICONFIG="two"), [])
        self.assertEqual(found(HSMSIGN_HOOKS="image"), [])
        self.assertEqual(found(KERNEL_CLASSES="kernel-fit-extra-artifacts"), [])

    def test_multiconfig_dependency(self):
        for default in ("", "default", None):  # wrynose, scarthgap
            self.assertEqual(hooks.multiconfig_dependency(default, "two", "i"), "mc::two:i:do_image_complete")
        self.assertEqual(hooks.multiconfig_dependency("one", "two", "i"), "mc:one:two:i:do_image_complete")

    def test_verity_types(self):
        types = "ext4.verity squashfs-zst.verity.gz wic ext4.gz verity ext4.verity.bmap".split()
        self.assertEqual(hooks.verity_types(types), ["ext4.verity", "squashfs-zst.verity"])
        self.assertEqual(hooks.verity_bases(types), ["ext4", "squashfs-zst"])

    def test_what_an_earlier_run_made_is_told_from_what_must_stay(self):
        link = "core.image-arm64.rootfs"
        image = link + "-20261125"
        old = [link + "-2020" + end for end in (".ext4", ".ext4.verity", ".ext4.verity.roothash.p7s", ".ext4.verity.gz")]
        stay = [image + ".ext4.verity", link + ".ext4.verity", link + "-2020.manifest", link + "-2020.testdata.json", link + "-2020.ext4x",
                link + "-2020.squashfs.verity", link + "-2020-dbg.ext4", image + "-dbg.ext4", "other-2020.ext4", link + "-2020.wic"]
        self.assertEqual(hooks.leftovers(stay[:5] + old + stay[5:], image, link, "ext4"), old)
        self.assertEqual(hooks.leftovers([link + "-1.0.wic", link + "-1.0.wic.bmap"], link + "-1.1", link, "wic"),
                         [link + "-1.0.wic", link + "-1.0.wic.bmap"])
        # Without a time in the name the file is the same; without a link's name nothing is known.
        self.assertEqual(hooks.leftovers([link + ".ext4"], link, link, "ext4"), [])
        self.assertEqual(hooks.leftovers(["-2020.ext4"], "-2021", "", "ext4"), [])
        self.assertEqual(hooks.image_task("squashfs-zst"), "do_image_squashfs_zst")

    def test_unsuitable_types(self):
        self.assertEqual(hooks.unsuitable_types(["ext4.verity", "tar.verity", "ext4.gz.verity"]), ["tar.verity", "ext4.gz.verity"])

    def test_ext_options(self):
        self.assertEqual(hooks.ext_options("-i 4096", "u"), "-b 4096 -U u -E hash_seed=u")
        # The last -E counts, so the user's must be in ours.
        self.assertEqual(hooks.ext_options("-b 4096 -E lazy_itable_init=0", "u"), "-U u -E lazy_itable_init=0,hash_seed=u")
        self.assertEqual(hooks.ext_options("-b1024 -U mine -E hash_seed=mine", "u"), "")

    def test_uuid_is_the_same_in_every_build(self):
        self.assertEqual(hooks.image_uuid("a", "b"), hooks.image_uuid("a", "b"))
        self.assertNotEqual(hooks.image_uuid("a", "b"), hooks.image_uuid("a", "c"))


class Overruled(unittest.TestCase):
    def test_every_choice_is_named_and_defaults_are_none(self):
        values = {"UBOOT_SIGN_KEYDIR": "/keys", "FIT_GENERATE_KEYS": "0", "FIT_SIGN_INDIVIDUAL": "1", "SWUPDATE_SIGNING": ""}
        self.assertEqual(hooks.overruled("uboot", values.get), ['UBOOT_SIGN_KEYDIR = "/keys"', 'FIT_SIGN_INDIVIDUAL = "1"'])
        self.assertEqual(hooks.overruled("swupdate", values.get), [])
        # kernel-fit-image.bbclass's defaults are nobody's choice, whether what they name is set or not.
        values = {"FIT_KERNEL_SIGN_KEYDIR": "${UBOOT_SIGN_KEYDIR}", "FIT_KERNEL_SIGN_KEYNAME": "${UBOOT_SIGN_KEYNAME}"}
        self.assertEqual(hooks.overruled("fit", values.get), [])
        values = {"UBOOT_SIGN_KEYDIR": "/keys", "FIT_KERNEL_SIGN_KEYDIR": "/keys", "FIT_KERNEL_SIGN_KEYNAME": "own"}
        self.assertEqual(hooks.overruled("fit", values.get), ['UBOOT_SIGN_KEYDIR = "/keys"', 'FIT_KERNEL_SIGN_KEYNAME = "own"'])
        text = hooks.who_wins("u-boot", "dev", "uboot", hooks.overruled("uboot", values.get))
        for words in ('HSMSIGN_MODE = "dev" wins over UBOOT_SIGN_KEYDIR = "/keys"', 'HSMSIGN_HOOKS:remove = "uboot"'):
            self.assertIn(words, text)

    def test_nothing_else_signs(self):
        # kernel FIT: oe-core's signing off; U-Boot: on, but led to us.
        self.assertEqual(set(hooks.FORCED["fit"].values()), {"0"})
        self.assertEqual(hooks.FORCED["uboot"]["UBOOT_MKIMAGE_SIGN"], "hsmsign_mkimage_sign")
        self.assertEqual(hooks.FORCED["swupdate"], {"SWUPDATE_SIGNING": ""})


class Gate(Scratch):
    def script(self, text):
        path = self.write("tool", "#!/bin/sh\n" + text)
        os.chmod(path, 0o755)
        return path

    def test_the_users_own_tool_is_taken_first(self):
        self.assertEqual(gate.tool("/opt/hsmsign", []), ("/opt/hsmsign", None))
        (self.path / "b/usr/bin").mkdir(parents=True)
        self.assertEqual(gate.tool("", [str(self.path / "a"), str(self.path / "b")]), (None, None))
        (self.path / "b/usr/bin/hsmsign").touch(0o755)
        self.assertEqual(gate.tool("", [str(self.path / "a"), str(self.path / "b")])[1], str(self.path / "b"))

    def test_the_deploy_directory_and_archives_are_checked(self):
        self.assertEqual(gate.commands(["h"], "/d", "/nowhere"), [("release gate", ["h", "verify", "deploy", "/d"]), ("leak scan", ["h", "scan", "/d"])])
        self.assertEqual(gate.commands(["h"], "/d", str(self.path))[1][1], ["h", "scan", "/d", str(self.path)])

    def test_findings_are_one_message_and_all_of_it_is_in_the_log(self):
        tool = self.script("echo FAIL u-boot.bin: unsigned; echo error: no >&2; [ $1 = ok ] || exit $1\n")
        log = str(self.path / "log/gate.log")
        bad, _ = gate.run([("release gate", [tool, "7"]), ("leak scan", [tool, "ok"]), ("leak scan", [tool, "5"])], log)
        self.assertEqual(len(bad), 2)
        self.assertIn("must not ship", bad[0])
        self.assertIn("FAIL u-boot.bin: unsigned", bad[0])
        self.assertIn("exit code 5", bad[1])
        self.assertEqual(pathlib.Path(log).read_text().count("FAIL u-boot.bin"), 3)

    def test_a_rehearsal_that_passes_is_told(self):
        tool = self.script("echo warning: REHEARSAL: nothing here may ship >&2; exit $1\n")
        bad, warnings = gate.run([("release gate", [tool, "0"]), ("leak scan", [tool, "7"])], str(self.path / "gate.log"))
        self.assertEqual(warnings, ["release gate: REHEARSAL: nothing here may ship"])
        self.assertEqual(len(bad), 1)

    def test_checks_run_at_the_same_time_and_a_full_pipe_stops_none(self):
        tool = self.script("cd %s; : > $1; seq 1 50000; for i in `seq 1 300`; do [ ! -e $2 ] || exit 7; sleep 0.1; done; exit 1\n" % self.path)
        log = str(self.path / "gate.log")
        bad, _ = gate.run([("release gate", [tool, "one", "two"]), ("leak scan", [tool, "two", "one"])], log)
        self.assertEqual([("must not ship" in text) for text in bad], [True, True])
        self.assertEqual(pathlib.Path(log).read_text().count("\n50000\n"), 2)

    def test_a_long_report_is_cut(self):
        text = gate.message("release gate", "d", 7, "line\n" * 1000, "", "l")
        self.assertLess(len(text.splitlines()), 50)
        self.assertIn("…", text)
        # In a product's directory what is wrong stands behind dozens of good files.
        report = "covered   a.dtb  device tree\n          also called b.dtb\n" * 100 + (
            "FAIL      rootfs.squashfs  unsigned\n          also called x.squashfs\nwarn      u-boot.bin\n          warning: it\n\n"
            "2 files are no artifacts:\n          a.its\n\nchain of trust:\n  └─ MISSING ?\n\nREFUSED: 1 refused\n")
        text = gate.message("release gate", "d", 7, report, "error: no", "l")
        self.assertEqual(text.splitlines()[1:], [
            "FAIL      rootfs.squashfs  unsigned", "          also called x.squashfs", "", "chain of trust:", "  └─ MISSING ?", "",
            "REFUSED: 1 refused", "error: no", "All of it: l"])


class Device(Scratch):
    """The scripts that run on the device, on a node made here."""

    TABLE = "0 8192 verity 1 DATA_DEVICE HASH_DEVICE 4096 4096 1024 1025 sha256 ab cd 2 root_hash_sig_key_desc hsmsign:rootfs\0"

    def module(self, script):
        file = LAYER / "dynamic-layers/openembedded-layer/recipes-core/initrdscripts/files/hsmsign.sh"
        text = "fatal() { echo FATAL \"$@\"; exit 9; }\ndmsetup() { echo \"$@\"; }\n. %s\n%s" % (file, script)
        environment = {"PATH": os.environ["PATH"], "HSMSIGN_NODE": str(self.path)}
        done = subprocess.run(["sh", "-c", text], env=environment, stdout=subprocess.PIPE, text=True, check=False)
        return done.returncode, done.stdout.strip()

    def test_root_is_opened_by_the_table(self):
        self.write("dm-table", self.TABLE)
        device = str(self.softhsm)
        code, said = self.module("bootparam_root=%s; hsmsign_run; echo $bootparam_root $bootparam_ro" % device)
        self.assertEqual((code, said.splitlines()), (0, [
            "create hsmsign-root --readonly --table 0 8192 verity 1 %s %s 4096 4096 1024 1025 sha256 ab cd" % (device, device),
            "/dev/mapper/hsmsign-root true",
        ]))

    def test_without_a_node_nothing_is_mounted(self):
        self.assertEqual(self.module("bootparam_root=/dev/null; hsmsign_run; echo reached")[0], 9)

    def test_a_refused_table_is_fatal(self):
        self.write("dm-table", self.TABLE)
        self.assertEqual(self.module("dmsetup() { false; }; bootparam_root=/dev/null; hsmsign_run; echo reached")[0], 9)

    def test_the_table_is_the_signers(self):
        self.assertIn("DATA_DEVICE HASH_DEVICE", (SIGNER / "src/format/verity/table.rs").read_text())

    def test_swupdate_key(self):
        file = LAYER / "dynamic-layers/swupdate/recipes-support/hsmsign-swupdate-key/files/50-hsmsign.sh"
        self.write("update-certificate", "PEM")
        environment = {"PATH": os.environ["PATH"], "HSMSIGN_NODE": str(self.path), "HSMSIGN_KEY_FILE": str(self.path / "key"), "SWUPDATE_ARGS": "-v"}
        script = ["sh", "-c", ". %s; echo $SWUPDATE_ARGS" % file]
        self.assertEqual(subprocess.check_output(script, env=environment, text=True).strip(), "-v -k %s" % (self.path / "key"))
        self.assertEqual((self.path / "key").read_text(), "PEM")
        (self.path / "update-certificate").unlink()
        subprocess.run(script, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        self.assertEqual((self.path / "key").read_text(), "", "a stale key must not stay")


@unittest.skipUnless(shutil.which("mkfs.ext4") or os.path.exists("/sbin/mkfs.ext4"), "e2fsprogs is not here")
class ExtTimes(Scratch):
    """The class's shell function, on images of mkfs.ext4."""

    PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"

    def shell(self, text):
        environment = {"PATH": self.PATH, "WORKDIR": str(self.path), "E2FSPROGS_FAKE_TIME": "1520598896"}
        script = "set -e; bbfatal() { echo FATAL $*; exit 9; }\n" + text
        done = subprocess.run(["sh", "-c", script], cwd=self.path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        return done.returncode, done.stdout

    def function(self):
        text = (LAYER / "classes-recipe/hsmsign-image.bbclass").read_text()
        return re.search(r"^hsmsign_fix_ext_times\(\) \{.*?^\}", text, re.MULTILINE | re.DOTALL).group(0)

    def image(self, name):
        uuid = "11111111-2222-3333-4444-555555555555"
        code, said = self.shell(
            "mkdir -p r/dir; seq 1 40 | while read n; do echo $n > r/dir/f$n; done; find r -exec touch -h --date=@1520598896 {} +; "
            "truncate -s 8M %s; mkfs.ext4 -q -F -i 4096 -U %s -E hash_seed=%s %s -d r; fsck.ext4 -pfD %s || [ $? -le 3 ]" % (name, uuid, uuid, name, name))
        self.assertEqual(code, 0, said)

    def test_two_images_made_at_two_times_are_the_same(self):
        self.image("one")
        time.sleep(1.1)  # the clock's resolution in the file system
        self.image("two")
        self.assertNotEqual((self.path / "one").read_bytes(), (self.path / "two").read_bytes(), "or this test cannot fail")
        code, said = self.shell(self.function() + "\nhsmsign_fix_ext_times one; hsmsign_fix_ext_times two; fsck.ext4 -fn one")
        self.assertEqual(code, 0, said)
        self.assertEqual((self.path / "one").read_bytes(), (self.path / "two").read_bytes())

    def test_what_is_no_file_system_is_an_error(self):
        self.write("none", "no file system")
        code, said = self.shell(self.function() + "\nhsmsign_fix_ext_times none")
        self.assertEqual(code, 9, said)
        self.assertIn("FATAL the times in none could not be set", said)


class Documentation(unittest.TestCase):
    def variables(self):
        found = set()
        for path in [LAYER / "conf/layer.conf", *LAYER.glob("classes-*/*.bbclass")]:
            found |= set(re.findall(r"^(HSMSIGN_\w+) \?\?= ", path.read_text(), re.MULTILINE))
        return found

    def test_every_variable_has_a_doc(self):
        text = "".join(p.read_text() for p in [LAYER / "conf/layer.conf", *LAYER.glob("classes-*/*.bbclass")])
        for name in self.variables():
            self.assertIn("%s[doc] = " % name, text)

    def test_the_reference_has_every_default(self):
        """Plain defaults word by word; what is computed stands in words there."""
        reference = (LAYER.parent / "docs/yocto.md").read_text()
        count = 0
        for path in [LAYER / "conf/layer.conf", *LAYER.glob("classes-*/*.bbclass")]:
            for name, default in re.findall(r'^(HSMSIGN_\w+) \?\?= "(.*)"$', path.read_text(), re.MULTILINE):
                row = re.search(r"^\| `%s` \| (.*?) \|" % name, reference, re.MULTILINE).group(1)
                if "${@" in default or name in ("HSMSIGN_KEY_IDENTITY", "HSMSIGN_ROOTFS_DESCRIPTION", "HSMSIGN_SOFTHSM"):
                    self.assertFalse(row.startswith("–"), name)
                    continue
                self.assertEqual(row, "`%s`" % default if default else "–", name)
                count += 1
        self.assertGreater(count, 10)

    def test_the_reference_has_every_variable_and_no_other(self):
        reference = (LAYER.parent / "docs/yocto.md").read_text()
        table = set(re.findall(r"^\| `(HSMSIGN_\w+)` ", reference, re.MULTILINE))
        self.assertEqual(table, self.variables())


if __name__ == "__main__":
    unittest.main()

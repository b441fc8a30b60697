#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Builds with real bitbake and oe-core, and has what comes out judged by tools that are not ours.

  BITBAKE_DIR=… OECORE_DIR=… METAOE_DIR=… META_SWUPDATE_DIR=… HSMSIGN_BINARY=… TEST_SOURCES=… run.py [PART]...

The four directories are checkouts of one series (scarthgap or wrynose); TEST_SOURCES holds the archives that the recipes of
meta-hsmsign-test name. Without them nothing is tested, and that is said. TEST_BUILD names the build directory, kept
from run to run; TEST_LAYERS more layers, such as meta-lts-mixins. wrynose's wic is no part of oe-core: the part `wic` takes
the one in PATH. Not as root, which bitbake refuses.
"""

import gzip
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time

HERE = pathlib.Path(__file__).resolve().parent
LAYER = HERE.parent.parent
NEEDED = ("BITBAKE_DIR", "OECORE_DIR", "METAOE_DIR", "META_SWUPDATE_DIR", "HSMSIGN_BINARY", "TEST_SOURCES")
TARGETS = ["test-image", "test-bundle"]
PIN = "canary-93415720"


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def check(condition, message):
    if not condition:
        raise Failed(message)


def run(command, directory=None, environment=None, codes=(0,)):
    done = subprocess.run([str(c) for c in command], cwd=directory, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if codes is not None and done.returncode not in codes:
        raise Failed("%s\nexit code %d\n%s" % (" ".join(map(str, command)), done.returncode, done.stdout[-6000:]))
    return done


def attempted(output):
    """How many tasks bitbake says it ran."""
    found = re.search(r"Attempted (\d+) tasks of which (\d+) didn't need to be rerun", output)
    return int(found.group(1)) - int(found.group(2))


class Build:
    """A build directory of one series."""

    def __init__(self, top, series):
        self.top = top
        self.series = series
        self.home = top / "home"
        (top / "conf").mkdir(parents=True, exist_ok=True)
        self.home.mkdir(exist_ok=True)
        self.fit = "linux-yocto-fitimage" if series == "wrynose" else "virtual/kernel"
        self.layers(with_ours=True)
        (top / "conf/local.conf").write_text("""\
MACHINE ?= "test-arm64"
DISTRO = "hsmsign-test"
BB_HASHSERVE = ""
BB_SIGNATURE_HANDLER = "OEBasicHash"
BB_DISKMON_DIRS = ""
BB_NUMBER_THREADS = "2"
PARALLEL_MAKE = "-j 2"
SSTATE_DIR ?= "${TOPDIR}/sstate"
DL_DIR = "${TOPDIR}/downloads"
TEST_SOURCES = "%s"
IMAGE_FSTYPES:pn-test-image ?= "squashfs"
# Everything but what the test builds: parsing takes seconds instead of minutes.
BBMASK = "/meta/recipes-(?!bsp/u-boot/|kernel/linux/linux-yocto-fitimage|kernel/linux/linux-dummy)"
TEST_MASK_OE ?= "/meta-oe/(recipes-|dynamic-layers) /meta-hsmsign-test/dynamic-layers/openembedded-layer/"
BBMASK += "${TEST_MASK_OE}"
BBMASK += "/meta-swupdate/recipes-"
""" % os.environ["TEST_SOURCES"])

    def layers(self, with_ours):
        ours = [LAYER] if with_ours else []
        layers = [pathlib.Path(os.environ["OECORE_DIR"]) / "meta", pathlib.Path(os.environ["METAOE_DIR"]) / "meta-oe",
                  os.environ["META_SWUPDATE_DIR"], *os.environ.get("TEST_LAYERS", "").split(), *ours, HERE / "meta-hsmsign-test"]
        (self.top / "conf/bblayers.conf").write_text(
            'BBPATH = "${TOPDIR}"\nBBFILES ?= ""\nBBLAYERS = "%s"\n' % " ".join(map(str, layers)))

    def configure(self, *lines):
        (self.top / "conf/auto.conf").write_text("\n".join(lines) + "\n")

    def environment(self):
        return {"HOME": str(self.home), "USER": os.environ.get("USER", "nobody"), "LANG": "en_US.UTF-8", "LC_ALL": "en_US.UTF-8",
                "TERM": "dumb", "PATH": os.environ["PATH"], "BBPATH": str(self.top)}

    def bitbake(self, *arguments, codes=(0,)):
        return run([pathlib.Path(os.environ["BITBAKE_DIR"]) / "bin/bitbake", *arguments], self.top, self.environment(), codes)

    def refused(self, *arguments):
        """What bitbake says as it fails. On a busy machine its client may leave before it has printed what the server said."""
        for _ in range(3):
            seen = self.bitbake(*arguments, codes=None)
            check(seen.returncode != 0, "accepted: bitbake %s with\n%s" % (" ".join(arguments), (self.top / "conf/auto.conf").read_text()))
            if seen.stdout.strip():
                break
        return seen

    def build(self, *targets):
        """Returns how many tasks ran."""
        return attempted(self.bitbake(*(targets or TARGETS + [self.fit])).stdout)

    def hashes(self, *targets):
        """(recipe, task) to hash, of everything the targets need."""
        stamps = self.top / "tmp/stamps"
        for old in stamps.rglob("*.sigdata.*"):
            old.unlink()
        self.bitbake("-S", "none", *(targets or TARGETS + [self.fit]))
        found = {}
        for path in stamps.rglob("*.sigdata.*"):
            task, _, value = path.name.rpartition(".sigdata.")
            found[(path.parent.name, task)] = value
        return found

    def from_nothing(self):
        """A release is refused where the deploy directory holds anything of another mode or of another test."""
        shutil.rmtree(self.top / "tmp", ignore_errors=True)

    def deployed(self, name, machine="test-arm64"):
        path = self.top / "tmp/deploy/images" / machine / name
        check(path.exists(), "%s was not deployed" % name)
        return path

    def fit_image(self):
        return self.deployed("fitImage" if self.series == "wrynose" else "fitImage-test-arm64.bin")


DEV = ['HSMSIGN_MODE = "dev"', 'IMAGE_FSTYPES:pn-test-image = "ext4.verity squashfs.verity"', 'HSMSIGN_ROOTFS_IMAGE = "test-image"']


def common():
    return ['HSMSIGN_BINARY = "%s"' % os.environ["HSMSIGN_BINARY"], 'HSMSIGN_SOFTHSM = "%s"' % softhsm()]


def softhsm():
    return next(p for p in ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so") if os.path.exists(p))


# The judges.


def flip(path, target, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    target.write_bytes(data)


def judge(build, hsmsign, mode, scratch):
    """Good artifacts accepted, changed ones refused, by U-Boot's, the kernel's and swupdate's own tools and OpenSSL."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()

    def certificate(role):
        path = scratch / ("%s.pem" % role)
        run([*hsmsign, "keys", "certificate", "--role", role, "-o", path], scratch, build.environment())
        return path

    # FIT, by U-Boot's fit_check_sign.
    fit = scratch / "fit"
    shutil.copy(build.fit_image(), fit)
    (scratch / "tree.dts").write_text("/dts-v1/; / { };\n")
    run(["dtc", "-p", "4096", "-o", "tree.dtb", "tree.dts"], scratch)
    run([*hsmsign, "sign", "bootloader", "--control-dtb", "tree.dtb"], scratch, build.environment())
    for configuration in ("conf-board-a.dtb", "conf-board-b.dtb"):
        seen = run(["fit_check_sign", "-f", fit, "-k", "tree.dtb", "-c", configuration], scratch)
        check("hsmsign-%s-fit+" % mode in seen.stdout, "fit_check_sign did not use our key:\n" + seen.stdout)
    data = fit.read_bytes()
    flip(fit, scratch / "bad", data.index(b"hsmsign-test,board-a"))
    check(run(["fit_check_sign", "-f", "bad", "-k", "tree.dtb"], scratch, codes=None).returncode != 0, "a changed FIT was accepted")

    # Root file systems, by veritysetup and OpenSSL.
    rootfs = certificate("rootfs")
    for kind in ("ext4", "squashfs"):
        image = build.deployed("test-image-test-arm64.rootfs.%s.verity" % kind)
        facts = json.loads(pathlib.Path("%s.verity.json" % image).read_text())
        root_hash = pathlib.Path("%s.roothash" % image).read_text().strip()
        offset = "--hash-offset=%d" % facts["hash_offset_bytes"]
        run(["veritysetup", "verify", offset, image, image, root_hash])
        flip(image, scratch / "bad", 5000)
        check(run(["veritysetup", "verify", offset, scratch / "bad", scratch / "bad", root_hash], codes=None).returncode != 0,
              "a changed image was accepted")
        (scratch / "text").write_text(root_hash)
        smime = ["openssl", "smime", "-verify", "-binary", "-inform", "der", "-in", "%s.roothash.p7s" % image,
                 "-content", "text", "-certfile", rootfs, "-nointern", "-noverify"]
        run(smime, scratch)
        (scratch / "text").write_text(root_hash[::-1])
        check(run(smime, scratch, codes=None).returncode != 0, "a signature of another root hash was accepted")
        if kind == "ext4":
            # The chain: the root hash stands in the device trees that the FIT's signature covers.
            check(root_hash.encode() in fit.read_bytes(), "the FIT does not carry the root hash")
            seen = run(["debugfs", "-R", "stat /etc/owned", image]).stdout
            check(re.search(r"User:\s+0\s+Group:\s+42", seen), "owners were lost under fakeroot:\n" + seen)

    # Bundle, by swupdate.
    update = certificate("update")
    bundle = build.deployed("test-bundle-test-arm64.rootfs.swu")
    # It unpacks to fixed names, so each run has a place of its own.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    swupdate = ["swupdate", "-c", "-H", "board:1.0", "-k", update, "-i"]
    run([*swupdate, bundle], scratch, environment)
    flip(bundle, scratch / "bad.swu", bundle.stat().st_size // 2)
    check(run([*swupdate, scratch / "bad.swu"], scratch, environment, codes=None).returncode != 0, "a changed bundle was accepted")
    return digests(build)


def digests(build):
    """What must be the same in every mode: kernel, device trees, and the image proper."""
    found = {}
    for name in ("Image", "board-a.dtb"):
        found[name] = hashlib.sha256(build.deployed(name).read_bytes()).hexdigest()
    for kind in ("ext4", "squashfs"):
        image = build.deployed("test-image-test-arm64.rootfs.%s.verity" % kind)
        length = json.loads(pathlib.Path("%s.verity.json" % image).read_text())["image_len_bytes"]
        found[kind] = hashlib.sha256(image.read_bytes()[:length]).hexdigest()
    return found


# The rehearsal of a release, on a SoftHSM token.


def rehearsal(build, name):
    """Keys, policy and host settings; returns the lines for local.conf and how to call hsmsign."""
    place = build.top / name
    shutil.rmtree(place, ignore_errors=True)
    (place / "tokens").mkdir(parents=True)
    settings = build.home / ".config/softhsm2"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "softhsm2.conf").write_text("directories.tokendir = %s\nobjectstore.backend = file\n" % (place / "tokens"))
    environment = build.environment()
    run(["softhsm2-util", "--init-token", "--free", "--label", "REHEARSAL", "--pin", PIN, "--so-pin", "12345678"], place, environment)
    keys = ""
    for number, role in enumerate(("bootloader", "fit", "rootfs", "update")):
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "%s.key" % role, "-out", "%s.pem" % role, "-days", "3650",
             "-subj", "/CN=%s %s" % (name, role), "-addext", "extendedKeyUsage=critical,emailProtection,codeSigning",
             "-addext", "keyUsage=critical,digitalSignature"], place)
        run(["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", "%s.key" % role, "-out", "%s.p8" % role], place)
        run(["softhsm2-util", "--import", "%s.p8" % role, "--token", "REHEARSAL", "--label", role, "--id", "0%d" % (number + 1), "--pin", PIN],
            place, environment)
        public = subprocess.run("openssl x509 -in %s.pem -pubkey -noout | openssl pkey -pubin -outform der" % role, shell=True,
                                cwd=place, stdout=subprocess.PIPE, check=True).stdout
        keys += ('    %s:\n      token: hsm\n      uri: "pkcs11:token=REHEARSAL;object=%s"\n      pins: ["sha256:%s"]\n'
                 "      certificate: %s.pem\n      accept: [imported]\n"
                 % (role, role, hashlib.sha256(public).hexdigest(), role))
    (place / "hsmsign.yaml").write_text("version: 1\nproduct: yocto\nrelease:\n  rehearsal: true\n  keys:\n" + keys)
    pin = build.home / "pin"
    pin.unlink(missing_ok=True)
    pin.write_text(PIN + "\n")
    pin.chmod(0o600)
    host = build.home / "host.yaml"
    host.write_text("version: 1\ntokens:\n  hsm:\n    module: %s\n    pin: { file: %s }\n" % (os.path.realpath(softhsm()), pin))
    host.chmod(0o600)
    lines = ['HSMSIGN_MODE = "release"', 'HSMSIGN_POLICY = "%s"' % (place / "hsmsign.yaml"), 'HSMSIGN_HOST_CONFIG = "%s"' % host, *DEV[1:]]
    call = [os.environ["HSMSIGN_BINARY"], "--mode", "release", "--config", place / "hsmsign.yaml", "--host-config", host]
    return lines, call


def dev_call(build):
    return [os.environ["HSMSIGN_BINARY"], "--mode", "dev", "--config", LAYER / "conf/hsmsign/dev.yaml",
            "--dev-dir", build.top / "hsmsign-dev", "--softhsm", softhsm()]


# The parts.


def part_off(build):
    """With the mode unset or off, no task hash differs from those without the layer."""
    build.configure()
    with_layer = build.hashes()
    build.configure('HSMSIGN_MODE = "off"')
    off = build.hashes()
    build.layers(with_ours=False)
    build.configure()
    without = build.hashes()
    build.layers(with_ours=True)
    check(len(without) > 50, "only %d hashes were seen" % len(without))
    check(with_layer == without and off == without, "hashes differ: %s" % sorted(
        k for k in set(without) | set(off) if without.get(k) != off.get(k) or without.get(k) != with_layer.get(k)))
    build.configure(*DEV, *common())
    dev = build.hashes()
    changed = {k for k in without if dev.get(k) != without[k]}
    check(changed, "dev changed nothing, so this test cannot fail")
    return "%d hashes equal; dev changes %d of them" % (len(without), len(changed))


def part_dev(build):
    """Dev mode from nothing, without a warning, all artifacts judged; a second build runs nothing."""
    build.from_nothing()
    # Nor from shared state, where packages are that have been warned of.
    shutil.rmtree(build.top / "sstate", ignore_errors=True)
    build.configure(*DEV, *common())
    output = build.bitbake(*TARGETS, build.fit).stdout
    # bitbake's own: of how the test calls it, of the machine it runs on, and of BBMASK.
    warnings = [line for line in output.splitlines() if line.startswith("WARNING: ")
                and not re.search(r"bitbake binary is not found in PATH|has not been validated with this version"
                                  r"|matched BBFILE_PATTERN_(swupdate|openembedded-layer) ", line)]
    check(not warnings, "needless: %s" % warnings)
    ran = attempted(output)
    judge(build, dev_call(build), "dev", build.top / "judge")
    again = build.build()
    check(again <= 3, "%d tasks ran again though nothing had changed" % again)
    return "%d tasks, then %d" % (ran, again)


def part_warnings(build):
    """What the tool warns of while it signs is a warning of the task, from Python's tasks and the shell's."""
    listed = (LAYER.parent / "signer/src/policy/example_keys/builtin.tsv").read_text()
    example = re.search(r"^([0-9a-f]{64})\trsa\t", listed, re.MULTILINE).group(1)
    policy = build.top / "example.yaml"
    policy.write_text("version: 1\nproduct: yocto\nrelease:\n  keys:\n    fit:\n      token: hsm\n"
                      '      uri: "pkcs11:token=T;object=fit"\n      pins: ["sha256:%s"]\n' % example)
    build.configure(*DEV, *common(), 'HSMSIGN_POLICY = "%s"' % policy)
    output = build.bitbake(*TARGETS, build.fit).stdout
    warned = re.findall(r"^WARNING: (\S+) (do_\w+): hsmsign: the policy pins a public example key", output, re.MULTILINE)
    tasks = {task for _, task in warned}
    check({"do_hsmsign_fit", "do_image_ext4", "do_swuimage"} <= tasks, "only these tasks warn of an example key: %s\n%s" % (sorted(tasks), output[-3000:]))
    return " ".join(sorted(tasks))


def part_modes(build):
    """dev, release, dev: signed anew each time with the right key, and the payload the same bit by bit."""
    build.from_nothing()
    build.configure(*DEV, *common())
    build.build()
    first = judge(build, dev_call(build), "dev", build.top / "judge")
    lines, call = rehearsal(build, "release-one")
    build.configure(*lines, *common())
    ran = build.build()
    release = judge(build, call, "release", build.top / "judge")
    check(ran >= 4, "only %d tasks ran for the release" % ran)
    check(first == release, "not the same in dev and release: %s" % [k for k in first if first[k] != release[k]])
    for name in ("fit", "rootfs", "update"):
        data = build.fit_image().read_bytes()
        check(b"hsmsign-dev" not in data and b"DEVELOPMENT" not in data, "the release FIT knows a dev key (%s)" % name)
    build.configure(*DEV, *common())
    build.build()
    judge(build, dev_call(build), "dev", build.top / "judge")
    return "release ran %d tasks; kernel, device trees and images equal" % ran


def part_keys(build):
    """A new key behind the same name signs anew, in both modes."""
    build.from_nothing()
    build.configure(*DEV, *common())
    build.build()
    before = build.fit_image().read_bytes()
    shutil.rmtree(build.top / "hsmsign-dev")
    ran = build.build()
    judge(build, dev_call(build), "dev", build.top / "judge")
    check(before != build.fit_image().read_bytes(), "the old key's signature stayed")
    lines, _ = rehearsal(build, "release-one")
    build.configure(*lines, *common())
    build.build()
    # Same directory, same names, other keys: only the policy's bytes differ.
    lines, call = rehearsal(build, "release-one")
    again = build.build()
    judge(build, call, "release", build.top / "judge")
    return "dev ran %d tasks, release %d" % (ran, again)


def part_hashes(build):
    """What belongs to the machine is in no hash; mode, policy and set id are."""
    # `bitbake -S` is a build to the gate, and there is nothing to look at.
    build.from_nothing()
    lines, _ = rehearsal(build, "release-one")
    build.configure(*lines, *common())
    one = build.hashes()
    moved = build.home / "elsewhere.yaml"
    shutil.copy(build.home / "host.yaml", moved)
    moved.chmod(0o600)
    policy = build.top / "policy-elsewhere"
    shutil.rmtree(policy, ignore_errors=True)
    shutil.copytree(build.top / "release-one", policy)
    build.configure(*[line.replace("host.yaml", "elsewhere.yaml").replace("release-one", "policy-elsewhere") for line in lines], *common())
    check(build.hashes() == one, "another path of host settings or policy changed hashes")
    with open(policy / "hsmsign.yaml", "a") as file:
        file.write("# one byte more\n")
    other = build.hashes()
    check(other != one, "the policy's bytes are in no hash")
    shutil.copytree(build.top / "release-one", policy, dirs_exist_ok=True)
    with open(policy / "update.pem", "a") as file:
        file.write("\n")
    check(build.hashes() != one, "a certificate's bytes are in no hash")
    build.configure(*DEV, *common())
    dev = build.hashes()
    build.configure(*DEV, *common(), 'HSMSIGN_DEV_DIR = "%s"' % (build.top / "other-set"))
    check(build.hashes() != dev, "the set id is in no hash")
    shutil.rmtree(build.top / "moved-set", ignore_errors=True)
    shutil.copytree(build.top / "hsmsign-dev", build.top / "moved-set")
    build.configure(*DEV, *common(), 'HSMSIGN_DEV_DIR = "%s"' % (build.top / "moved-set"))
    check(build.hashes() == dev, "another path of the same set changed hashes")
    # Nothing is packaged anew because the image has changed: only its FIT is signed with another root hash.
    build.configure(*DEV, *common(), 'IMAGE_ROOTFS_EXTRA_SPACE:pn-test-image = "1024"')
    recipe = "linux-yocto-fitimage" if build.series == "wrynose" else "linux-teststub"

    def changed():
        return {task.rpartition(".")[2] for (place, task), value in build.hashes().items() if place.startswith(recipe) and dev[place, task] != value}

    seen = changed()
    check({"do_hsmsign_fit", "do_deploy"} <= seen and not [task for task in seen if "package" in task or task in ("do_compile", "do_install")],
          "another image changed these tasks of %s: %s" % (recipe, sorted(seen)))
    for line in ('HSMSIGN_FIT_OPTIONS = "--image-signatures"', 'HSMSIGN_ROOTFS_TYPE = "squashfs.verity"', 'HSMSIGN_FIT_UPDATE_CERTIFICATE = "0"'):
        build.configure(*DEV, *common(), line)
        check("do_hsmsign_fit" in changed(), "%s is not in the hash of the task that signs" % line)
    return "%d hashes" % len(one)


def part_canary(build):
    """The PIN stands in its file and nowhere in the build directory."""
    build.from_nothing()
    lines, call = rehearsal(build, "release-canary")
    build.configure(*lines, *common())
    ran = build.build()
    check(ran >= 4, "nothing was signed, so this test cannot fail")
    judge(build, call, "release", build.top / "judge")
    seen = pin_places(build)
    check(not seen, "the PIN stands in: %s" % seen)
    check(PIN in (build.home / "pin").read_text(), "the PIN's file is gone, so this test cannot fail")
    return "searched %s" % build.top


def part_errors(build):
    """Each mistake is one message that names the variable, when the configuration is read."""
    absent = "/nowhere/at-all"
    release, _ = rehearsal(build, "release-one")
    cases = [
        (['HSMSIGN_MODE = "Dev"'], 'HSMSIGN_MODE = "Dev": unknown mode'),
        (['HSMSIGN_MODE = "release"'], "HSMSIGN_POLICY is not set; write HSMSIGN_POLICY ="),
        (['HSMSIGN_MODE = "release"', 'HSMSIGN_POLICY = "%s"' % absent], 'HSMSIGN_POLICY = "%s": there is no such file' % absent),
        (['HSMSIGN_MODE = "release"', 'HSMSIGN_POLICY = "%s"' % (LAYER / "conf/hsmsign/dev.yaml")], "no `release:` section"),
        (['HSMSIGN_MODE = "release"', 'HSMSIGN_POLICY = "%s"' % (build.top / "release-one/hsmsign.yaml")],
         'HSMSIGN_AGENT = "/run/hsmsign/agent.sock": no such file'),
        (['HSMSIGN_MODE = "dev"', 'HSMSIGN_SOFTHSM = "%s"' % absent], "HSMSIGN_SOFTHSM = "),
        (['HSMSIGN_MODE = "dev"', 'HSMSIGN_SOFTHSM = "%s"' % softhsm(), 'HSMSIGN_DEV_DIR = "/proc/hsmsign"'], 'HSMSIGN_DEV_DIR = "/proc/hsmsign"'),
        (['HSMSIGN_MODE = "dev"', 'HSMSIGN_PIN = "1234"'], "HSMSIGN_PIN: there is no variable for a PIN"),
        (['HSMSIGN_MODE = "dev"', 'HSMSIGN_HOOKS = "fit rootfs"'], "unknown hook `rootfs`"),
    ]
    cases.append((release + ['HSMSIGN_AGENT = "%s"' % absent], 'HSMSIGN_AGENT = "%s"' % absent))
    for lines, expected in cases:
        build.configure(*lines)
        seen = build.refused("-e")
        check(expected in seen.stdout, "%s: not `%s` but\n%s" % (lines, expected, seen.stdout[-3000:]))
        check("Traceback" not in seen.stdout, "%s: a traceback\n%s" % (lines, seen.stdout[-3000:]))
    recipes = [
        ("test-image", 'IMAGE_FSTYPES:pn-test-image = "tar.verity"', 'IMAGE_FSTYPES has "tar.verity"'),
        ("u-boot", 'UBOOT_MKIMAGE_SIGN = "/opt/other-signer"', 'UBOOT_MKIMAGE_SIGN = "/opt/other-signer" is another'),
    ]
    for recipe, line, expected in recipes:
        build.configure(*DEV, *common(), line)
        seen = build.refused("-e", recipe)
        check(expected in seen.stdout, "%s: not `%s` but\n%s" % (line, expected, seen.stdout[-3000:]))
    return "%d mistakes" % (len(cases) + len(recipes))


def part_uboot(build):
    """U-Boot's control tree carries the mode's key and no other, and accepts the FIT of that mode alone."""
    build.from_nothing()
    lines, call = rehearsal(build, "release-one")
    other = None
    for mode, configuration in (("dev", DEV), ("release", lines), ("dev", DEV)):
        build.configure(*configuration, *common())
        # In the same work directory, whose control tree carries the other mode's key by then.
        build.build("u-boot", build.fit)
        tree, fit = build.deployed("u-boot.dtb"), build.fit_image()
        nodes = run(["fdtget", "-l", tree, "/signature"]).stdout.split()
        check(nodes == ["key-hsmsign-%s-fit" % mode], "keys in the control tree in %s: %s" % (mode, nodes))
        seen = run(["fit_check_sign", "-f", fit, "-k", tree])
        check("hsmsign-%s-fit+" % mode in seen.stdout, seen.stdout)
        if other:
            check(run(["fit_check_sign", "-f", other, "-k", tree], codes=None).returncode != 0, "U-Boot in %s accepts the other mode's FIT" % mode)
        other = build.top / "other.fit"
        shutil.copy(fit, other)
        binary = build.deployed("u-boot.bin").read_bytes()
        check(tree.read_bytes() in binary or b"hsmsign-%s-fit" % mode.encode() in binary, "u-boot.bin does not carry the key")
    # A call that fails in the middle of oe-core's shell ends the task, with the tool's own words.
    build.configure(*DEV, *common(), 'HSMSIGN_UBOOT_REQUIRED = "nonsense"')
    seen = build.bitbake("u-boot", codes=None)
    check(seen.returncode != 0 and "hsmsign sign bootloader failed in mode dev (exit code 2)" in seen.stdout and "nonsense" in seen.stdout,
          "exit code %d\n%s" % (seen.returncode, seen.stdout[-3000:]))
    return "the key of each mode in u-boot.dtb and u-boot.bin; dev, release, dev"


def part_spl(build):
    """am57xx: SPL's tree carries the bootloader key, and U-Boot's FIT is refused under any other."""
    lines = ['HSMSIGN_MODE = "dev"', *common(), 'MACHINE = "test-arm32"']
    build.configure(*lines)
    build.build("u-boot")
    spl, tree, fit = (build.deployed(name, "test-arm32") for name in ("u-boot-spl.dtb", "u-boot.dtb", "u-boot-fitImage"))
    seen = run(["fit_check_sign", "-f", fit, "-k", spl])
    check("hsmsign-dev-bootloader+" in seen.stdout, seen.stdout)
    for path, role in ((spl, "bootloader"), (tree, "fit")):
        nodes = run(["fdtget", "-l", path, "/signature"]).stdout.split()
        check(nodes == ["key-hsmsign-dev-" + role], "keys in %s: %s" % (path.name, nodes))
    check(spl.read_bytes() in build.deployed("MLO", "test-arm32").read_bytes(), "SPL was not joined with the tree that carries the key")
    data = fit.read_bytes()
    check(tree.read_bytes() in data, "U-Boot's FIT does not hold the tree with the fit key")
    # fit_check_sign looks at the data of kernel, tree and ramdisk alone; SPL does at loadables' too, by the hash that the
    # configuration's signature covers.
    flip(fit, build.top / "bad.fit", data.index(tree.read_bytes()) + 5000)
    check(run(["fit_check_sign", "-f", build.top / "bad.fit", "-k", spl], codes=None).returncode != 0, "a changed tree was accepted")
    code = build.deployed("u-boot-nodtb.bin", "test-arm32").read_bytes()
    check(hashlib.sha256(code).digest() in data, "the hash of U-Boot's code is not in the FIT")
    flip(fit, build.top / "bad.fit", data.index(hashlib.sha256(code).digest()))
    check(run(["fit_check_sign", "-f", build.top / "bad.fit", "-k", spl], codes=None).returncode != 0, "a changed hash of the code was accepted")
    # The keys of another set: signed anew, and the old FIT is refused by the new SPL.
    old = build.top / "old.fit"
    shutil.copy(fit, old)
    build.configure(*lines, 'HSMSIGN_DEV_DIR = "%s"' % (build.top / "other-set"))
    build.build("u-boot")
    check(run(["fit_check_sign", "-f", old, "-k", spl], codes=None).returncode != 0, "another developer's U-Boot was accepted")
    run(["fit_check_sign", "-f", build.deployed("u-boot-fitImage", "test-arm32"), "-k", spl])
    return "SPL, U-Boot's FIT and tree; a second set of keys"


def part_notree(build):
    """A U-Boot without a control tree: said in dev, an error in release."""
    lines, _ = rehearsal(build, "release-one")
    build.configure(*lines, *common(), 'TEST_NO_TREE = "1"')
    seen = build.bitbake("u-boot", codes=None)
    check(seen.returncode != 0 and "no control tree of its own" in seen.stdout, seen.stdout[-3000:])
    build.configure(*DEV, *common(), 'TEST_NO_TREE = "1"')
    seen = build.bitbake("u-boot")
    check("no control tree of its own" in seen.stdout, seen.stdout[-3000:])
    return "refused in release, said in dev"


def control_tree(build, hsmsign, scratch):
    """A control tree that demands the fit key."""
    scratch.mkdir(exist_ok=True)
    (scratch / "tree.dts").write_text("/dts-v1/; / { };\n")
    run(["dtc", "-p", "4096", "-o", "tree.dtb", "tree.dts"], scratch)
    run([*hsmsign, "sign", "bootloader", "--control-dtb", "tree.dtb"], scratch, build.environment())
    return scratch / "tree.dtb"


def part_initramfs(build):
    """An initramfs in the FIT, and one bundled with the kernel."""
    tree = control_tree(build, dev_call(build), build.top / "judge-initramfs")
    build.configure(*DEV, *common(), 'INITRAMFS_IMAGE = "test-initramfs"')
    build.build(build.fit)
    fit = build.fit_image() if build.series == "wrynose" else build.deployed("fitImage-test-initramfs-test-arm64-test-arm64")
    seen = run(["fit_check_sign", "-f", fit, "-k", tree])
    check("hsmsign-dev-fit+" in seen.stdout, seen.stdout)
    data = fit.read_bytes()
    ramdisk = build.deployed("test-initramfs-test-arm64.cpio.gz").read_bytes()
    check(ramdisk in data, "the FIT does not hold the initramfs")
    listed = subprocess.run(["cpio", "-t"], input=gzip.decompress(ramdisk), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    check(b"init.d/88-hsmsign" in listed, "the initramfs lacks the layer's module")
    flip(fit, build.top / "bad.fit", data.index(ramdisk) + len(ramdisk) // 2)
    check(run(["fit_check_sign", "-f", build.top / "bad.fit", "-k", tree], codes=None).returncode != 0, "a changed initramfs was accepted")
    root_hash = pathlib.Path("%s.roothash" % build.deployed("test-image-test-arm64.rootfs.ext4.verity")).read_text().strip()
    check(root_hash.encode() in data, "the FIT does not carry the root hash")
    build.configure(*DEV, *common(), 'INITRAMFS_IMAGE = "test-initramfs"', 'INITRAMFS_IMAGE_BUNDLE = "1"')
    build.build(build.fit)
    fit = build.fit_image() if build.series == "wrynose" else build.deployed("fitImage")
    seen = run(["fit_check_sign", "-f", fit, "-k", tree])
    check("hsmsign-dev-fit+" in seen.stdout, seen.stdout)
    check(root_hash.encode() in fit.read_bytes(), "the FIT of the bundle does not carry the root hash")
    return "in the FIT, and bundled"


def part_multiconfig(build):
    """The image comes from another multiconfig."""
    build.configure(*DEV, *common(), 'BBMULTICONFIG = "two"', 'HSMSIGN_ROOTFS_MULTICONFIG = "two"',
                    'HSMSIGN_ROOTFS_DEPLOY_DIR = "${TOPDIR}/tmp-two/deploy/images/test-arm64"')
    build.build(build.fit)
    image = build.top / "tmp-two/deploy/images/test-arm64/test-image-test-arm64.rootfs.ext4.verity"
    check(image.exists(), "the other configuration made no image")
    root_hash = pathlib.Path("%s.roothash" % image).read_text().strip()
    data = build.fit_image().read_bytes()
    check(root_hash.encode() in data, "the FIT does not carry the root hash of the other configuration's image")
    tree = control_tree(build, dev_call(build), build.top / "judge-multiconfig")
    run(["fit_check_sign", "-f", build.fit_image(), "-k", tree])
    return "the FIT of one configuration carries the root hash of another's image"


def part_wic(build):
    """A partition that is the signed file system of the same recipe."""
    if build.series != "scarthgap" and not shutil.which("wic"):
        raise Skipped("no wic in PATH; since wrynose it is no part of oe-core")
    build.configure(*DEV, *common())
    build.build("test-disk")
    disk = build.deployed("test-disk-test-arm64.rootfs.wic")
    image = build.deployed("test-disk-test-arm64.rootfs.ext4.verity")
    part = json.loads(run(["sfdisk", "-J", disk]).stdout)["partitiontable"]["partitions"][0]
    data = disk.read_bytes()[part["start"] * 512:]
    check(data.startswith(image.read_bytes()), "the partition is not the signed file")
    (build.top / "partition").write_bytes(data)
    facts = json.loads(pathlib.Path("%s.verity.json" % image).read_text())
    root_hash = pathlib.Path("%s.roothash" % image).read_text().strip()
    run(["veritysetup", "verify", "--hash-offset=%d" % facts["hash_offset_bytes"], build.top / "partition", build.top / "partition", root_hash])
    build.build("test-whole-disk")
    disk = build.deployed("test-whole-disk-test-arm64.rootfs.wic")
    starts = [part["start"] * 512 for part in json.loads(run(["sfdisk", "-J", disk]).stdout)["partitiontable"]["partitions"]]
    for start, path in zip(starts, (build.deployed("fitImage"), build.deployed("test-image-test-arm64.rootfs.ext4.verity"))):
        check(disk.read_bytes()[start:].startswith(path.read_bytes()), "a partition is not %s" % path.name)
    check(build.deployed("test-image-test-arm64.rootfs.ext4.verity.roothash").read_bytes().strip() in build.deployed("fitImage").read_bytes(),
          "the disk's FIT has not the root hash of the disk's root file system")
    build.configure(*DEV, *common(), 'IMAGE_FSTYPES:pn-test-image = "ext4.verity wic"', 'WKS_FILE_DEPENDS:pn-test-image = ""')
    seen = build.bitbake("-n", "test-image", codes=None)
    if build.series == "scarthgap":
        check(seen.returncode != 0 and 'IMAGE_FSTYPES has "wic", and HSMSIGN_ROOTFS_IMAGE names this image' in seen.stdout, seen.stdout[-3000:])
    else:
        check(seen.returncode == 0, seen.stdout[-3000:])
    return "the partitions are the signed files"


def part_own(build):
    """Recipes with artifacts of their own: one that calls the tool, one that uses oe-core's FIT class (wrynose)."""
    build.configure(*DEV, *common())
    targets = ["test-own"] + (["test-recovery-fit"] if build.series == "wrynose" else [])
    build.build(*targets)
    scratch = build.top / "judge-own"
    tree = control_tree(build, dev_call(build), scratch)
    own = build.deployed("own.bin")
    run([*dev_call(build), "keys", "certificate", "--role", "update", "-o", scratch / "update.pem"], scratch, build.environment())
    cms = ["openssl", "cms", "-verify", "-binary", "-inform", "der", "-in", "%s.sig" % own, "-CAfile", scratch / "update.pem", "-purpose", "any",
           "-content"]
    run([*cms, own])
    flip(own, scratch / "bad", 3)
    check(run([*cms, scratch / "bad"], codes=None).returncode != 0, "a changed file was accepted")
    if build.series == "wrynose":
        root_hash = build.deployed("test-image-test-arm64.rootfs.ext4.verity.roothash").read_bytes().strip()
        for line, carries in (("", True), ('HSMSIGN_ROOTFS_IMAGE:pn-test-recovery-fit = ""', False)):
            build.configure(*DEV, *common(), line)
            build.build("test-recovery-fit")
            recovery = build.deployed("recovery.itb")
            seen = run(["fit_check_sign", "-f", recovery, "-k", tree])
            check("hsmsign-dev-fit+" in seen.stdout, seen.stdout)
            check((root_hash in recovery.read_bytes()) == carries, "with `%s` the recovery FIT has %s root hash" % (line, "no" if carries else "a"))
        build.configure(*DEV, *common(), 'TEST_RENAME_FIT = "1"')
        seen = build.bitbake("test-recovery-fit", codes=None)
        check(seen.returncode != 0 and "so there is no FIT to sign" in seen.stdout, seen.stdout[-3000:])
    build.configure(*common())
    build.build("test-own")
    check(not (own.parent / "own.bin.sig").exists(), "a signature was left over in mode off")
    return " ".join(targets)


def part_packaged(build):
    """A root filesystem that holds the kernel's packages, the FIT's among them, whose deployed FIT carries its root hash."""
    package = "linux-yocto-fitimage" if build.series == "wrynose" else "kernel-image-fitimage-6.18.0"
    build.configure(*DEV, *common(), 'IMAGE_INSTALL:append:pn-test-image = " %s"' % package)
    build.build()
    judge(build, dev_call(build), "dev", build.top / "judge")
    image = build.deployed("test-image-test-arm64.rootfs.ext4.verity")

    def packaged():
        image = build.deployed("test-image-test-arm64.rootfs.ext4.verity")
        entries = [line.split("/") for line in run(["debugfs", "-R", "ls -p /boot", image]).stdout.splitlines() if line.startswith("/")]
        names = [entry[5] for entry in entries if entry[2].startswith("100") and entry[5].startswith("fitImage")]
        check(len(names) == 1, "FITs in /boot: %s" % names)
        run(["debugfs", "-R", "dump /boot/%s %s" % (names[0], build.top / "packaged.fit"), image])
        data = (build.top / "packaged.fit").read_bytes()
        check(data.startswith(b"\xd0\x0d\xfe\xed"), "%s is no FIT" % names[0])
        return data

    check(b"hsmsign-dev-fit" not in packaged(), "the packaged FIT is signed")
    # Installed again from a directory where the FIT has been signed meanwhile.
    build.bitbake("-f", "-c", "install", build.fit)
    build.build()
    check(b"hsmsign-dev-fit" not in packaged(), "installed again, the packaged FIT is signed")
    judge(build, dev_call(build), "dev", build.top / "judge")
    return package


def part_overruled(build):
    """Who has chosen key files is told that they have no effect, whatever override the choice stands behind; and they have none."""
    keys = build.top / "their-keys"
    build.configure(*DEV, *common(), 'UBOOT_SIGN_ENABLE:forcevariable = "1"', 'FIT_KERNEL_SIGN_ENABLE:test-arm64 = "1"',
                    'UBOOT_SIGN_KEYDIR:test-arm64 = "%s"' % keys, 'UBOOT_SIGN_KEYNAME = "dev"', 'SWUPDATE_SIGNING:pn-test-bundle = "RSA"',
                    'SWUPDATE_PRIVATE_KEY = "%s/private.pem"' % keys)
    output = build.bitbake(*TARGETS, build.fit).stdout
    for words in ('wins over UBOOT_SIGN_KEYDIR = "%s"' % keys, 'HSMSIGN_HOOKS:remove = "fit"', 'wins over SWUPDATE_SIGNING = "RSA"',
                  'HSMSIGN_HOOKS:remove = "swupdate"'):
        check(words in output, "not `%s` but\n%s" % (words, output[-3000:]))
    check(not keys.exists(), "oe-core made keys of its own")
    judge(build, dev_call(build), "dev", build.top / "judge")
    return "said for FIT and bundle"


def part_gate(build):
    """The release gate: an unsigned file in the deploy directory fails a release and is warned of in dev."""
    other = Build(build.top / "elsewhere", build.series)
    other.from_nothing()
    lines, _ = rehearsal(other, "release-one")
    other.configure(*lines, *common(), 'SSTATE_DIR = "%s"' % (build.top / "sstate"))
    other.build()
    stray = other.top / "tmp/deploy/images/test-arm64/stray.itb"
    # mkimage opens what it packs for writing as well, so the data is a file of this user's.
    (other.top / "stray.data").write_bytes(b"not signed by anybody\n" * 100)
    unsigned = ["mkimage", "-f", "auto", "-A", "arm64", "-O", "linux", "-T", "kernel", "-C", "none", "-a", "0", "-e", "0", "-d", other.top / "stray.data",
                stray]
    run(unsigned)
    seen = other.bitbake(*TARGETS, other.fit, codes=None)
    check(seen.returncode != 0 and "it must not ship" in seen.stdout and "stray.itb" in seen.stdout, "exit code %d\n%s" % (seen.returncode, seen.stdout[-3000:]))
    stray.unlink()
    # A key that leaks, in the deploy directory's notes or in an archive of sources.
    sources = other.top / "tmp/deploy/sources"
    sources.mkdir(exist_ok=True)
    key = run(["openssl", "genpkey", "-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]).stdout
    (other.top / "key.txt").write_text(key[key.index("-----BEGIN"):])
    run(["tar", "czf", sources / "product.tar.gz", "key.txt"], other.top)
    seen = other.bitbake(*TARGETS, other.fit, codes=None)
    check(seen.returncode != 0 and "leak scan" in seen.stdout and "product.tar.gz" in seen.stdout, "exit code %d\n%s" % (seen.returncode, seen.stdout[-3000:]))
    (sources / "product.tar.gz").unlink()
    other.build()
    # What is left of a dev build is no better.
    other.configure(*DEV, *common(), 'SSTATE_DIR = "%s"' % (build.top / "sstate"))
    other.build()
    other.configure(*lines, *common(), 'SSTATE_DIR = "%s"' % (build.top / "sstate"))
    seen = other.bitbake("test-image", codes=None)
    check(seen.returncode != 0 and "it must not ship" in seen.stdout and "swu" in seen.stdout, "exit code %d\n%s" % (seen.returncode, seen.stdout[-3000:]))
    other.configure(*DEV, *common(), 'SSTATE_DIR = "%s"' % (build.top / "sstate"))
    run(unsigned)
    seen = other.bitbake(*TARGETS, other.fit)
    check("WARNING: release gate" in seen.stdout and "it must not ship" in seen.stdout and "stray.itb" in seen.stdout, seen.stdout[-3000:])
    other.configure(*DEV, *common(), 'SSTATE_DIR = "%s"' % (build.top / "sstate"), 'HSMSIGN_DEV_GATE = "0"')
    check("it must not ship" not in other.bitbake(*TARGETS, other.fit).stdout, "the gate ran though it is switched off")
    return "refused in release, said in dev"


def part_agent(build):
    """A release by the agent: the build knows neither module nor PIN, and no task has a network."""
    build.from_nothing()
    lines, call = rehearsal(build, "release-agent")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="hsmsign-"))  # a socket's path may have 107 bytes
    socket = directory / "agent.sock"
    lines = [line for line in lines if not line.startswith("HSMSIGN_HOST_CONFIG")] + ['HSMSIGN_AGENT = "%s"' % socket]
    build.configure(*lines, *common())
    seen = build.refused("-e")
    check('HSMSIGN_AGENT = "%s": no such file' % socket in seen.stdout, "without an agent:\n" + seen.stdout[-2000:])
    agent = subprocess.Popen([str(c) for c in call] + ["agent", "--socket", str(socket)], env=build.environment(), stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 60
        while not socket.exists() and agent.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        check(socket.exists(), "the agent did not start")
        # The build could not open the token if it wanted to.
        hidden = build.home / "pin.hidden"
        (build.home / "pin").rename(hidden)
        (build.home / "host.yaml").rename(build.home / "host.hidden")
        ran = build.build()
        judge(build, [c for c in call[:5]] + ["--agent", socket], "release", build.top / "judge")
        networks = subprocess.run(["grep", "-rlE", r"\[network\]", LAYER, "--include=*.bbclass", "--include=*.bb", "--include=*.inc"],
                                  stdout=subprocess.PIPE, text=True).stdout
        check(not networks, "a task asks for the network: " + networks)
        check(not pin_places(build), "the PIN stands in: %s" % pin_places(build))
    finally:
        agent.terminate()
        agent.communicate(timeout=30)
    # The socket of an agent that has died: one message, and nothing is signed.
    import socket as sockets
    if not socket.exists():
        dead = sockets.socket(sockets.AF_UNIX)
        dead.bind(str(socket))
        dead.close()
    build.from_nothing()
    seen = build.bitbake(*TARGETS, build.fit, codes=None)
    errors = re.findall(r"^ERROR: .*hsmsign .* failed in mode release.*$", seen.stdout, re.MULTILINE)
    check(seen.returncode != 0 and errors and "See HSMSIGN_AGENT" in seen.stdout, "with a dead agent:\n" + seen.stdout[-3000:])
    shutil.rmtree(directory)
    return "%d tasks; a dead agent gave %d message(s)" % (ran, len(errors))


def part_wrongpin(build):
    """A wrong PIN costs one try, however many tasks would sign."""
    build.from_nothing()
    lines, call = rehearsal(build, "release-wrong")
    (build.home / "pin").write_text("wrong-0000\n")
    build.configure(*lines, *common())
    seen = build.bitbake("-k", *TARGETS, build.fit, codes=None)
    check(seen.returncode != 0, "a wrong PIN was accepted")
    rejected = len(set(re.findall(r"^ERROR: (\S+ \S+): .*?failed in mode release", seen.stdout, re.MULTILINE)))
    tries = seen.stdout.count("` refused the PIN (C_Login: CKR_PIN_INCORRECT)")
    spared = seen.stdout.count("it refused the PIN from ")
    run([*call, "keys", "unlatch"], build.top, build.environment(), codes=None)
    check(tries == 1 and spared == rejected - 1 and rejected >= 2, "%d tries, %d task(s) failed\n%s" % (tries, rejected, seen.stdout[-4000:]))
    return "%d tasks failed, one of them because the token refused the PIN, %d without asking it again" % (rejected, spared)


def pin_places(build):
    return subprocess.run(["grep", "-rlaF", "--exclude-dir=home", "--exclude-dir=elsewhere", PIN, str(build.top)], stdout=subprocess.PIPE,
                          text=True).stdout.split()


def part_elsewhere(build):
    """A release in another directory, which has the developer's shared state: nothing of dev is restored, the payload is the same."""
    build.configure(*DEV, *common())
    build.build()
    dev = digests(build)
    kept = list((build.top / "sstate").rglob("*linux-yocto-fitimage*_deploy.tar*"))
    check(not kept, "a FIT with a root hash is in shared state, where its image is not: %s" % kept)
    other = Build(build.top / "elsewhere", build.series)
    other.from_nothing()
    lines, call = rehearsal(other, "release-one")
    other.configure(*lines, *common(), 'SSTATE_DIR = "%s"' % (build.top / "sstate"))
    ran = other.build()
    check(judge(other, call, "release", other.top / "judge") == dev, "not the same as in the developer's directory")
    return "%d tasks ran; the images are the same" % ran


def part_source(build):
    """hsmsign-native built by cargo from crate:// archives, with the host's Rust as the build's, and a build signed by it."""
    check(shutil.which("cargo"), "no cargo in PATH that this user may run")
    source = [line for line in common() if not line.startswith("HSMSIGN_BINARY")]
    if build.series == "scarthgap":
        build.configure(*DEV, *source)
        seen = build.bitbake("hsmsign-native", codes=None)
        check(seen.returncode != 0 and "is older than the signer needs" in seen.stdout and "meta-lts-mixins" in seen.stdout, seen.stdout[-3000:])
        # What meta-lts-mixins' layer says.
        source.append('RUSTVERSION = "1.95%"')
    build.configure(*DEV, *source)
    build.build("hsmsign-native")
    work = build.top / "tmp/work/x86_64-linux/hsmsign-native"
    for log in work.glob("*/temp/log.do_compile"):
        text = log.read_text(errors="replace")
        check("Downloading" not in text and "Updating crates.io" not in text, "do_compile asked the network")
    build.build()
    version = run([build.top / "tmp/sysroots-components/x86_64/hsmsign-native/usr/bin/hsmsign", "--version"]).stdout.strip()
    judge(build, dev_call(build), "dev", build.top / "judge")
    return version


def softhsm_recipe():
    """The version of meta-oe's recipe, and lines that make bitbake build it instead of taking the host's."""
    recipe = next((pathlib.Path(os.environ["METAOE_DIR"]) / "meta-oe/recipes-security/softhsm").glob("softhsm_*.bb"))
    archive = pathlib.Path(os.environ["TEST_SOURCES"]) / (recipe.stem + ".tar.gz")
    version = recipe.stem.partition("_")[2]
    if not archive.exists():
        raise Skipped("no %s; make it: git archive --prefix=softhsm-%s/ -o %s %s, in a clone of SoftHSMv2" % (archive, version, archive, version))
    return version, ['HSMSIGN_BINARY = "%s"' % os.environ["HSMSIGN_BINARY"],
                     'TEST_REAL_NATIVE = "pseudo|virtual/fakeroot|apt|hsmsign.*|test-.*|softhsm"',
                     'TEST_MASK_OE = "/meta-oe/(recipes-(?!security/softhsm)|dynamic-layers)"']


def part_softhsm(build):
    """Dev mode without HSMSIGN_SOFTHSM: the keys are in meta-oe's softhsm-native, which bitbake has built."""
    version, lines = softhsm_recipe()
    build.from_nothing()
    keys = build.top / "softhsm-set"
    shutil.rmtree(keys, ignore_errors=True)
    build.configure(*DEV, *lines, 'HSMSIGN_DEV_DIR = "%s"' % keys)
    build.build()
    module = build.top / "tmp/sysroots-components/x86_64/softhsm-native/usr/lib/softhsm/libsofthsm2.so"
    check(module.exists(), "bitbake did not build softhsm-native")
    signed = 0
    for log in (build.top / "tmp/work").glob("*/*/*/temp/log.do_*"):
        for path in re.findall(r"--softhsm (\S+)", log.read_text(errors="replace")):
            check(path.endswith("recipe-sysroot-native/usr/lib/softhsm/libsofthsm2.so"), "%s: signed with %s" % (log, path))
            signed += 1
    check(signed, "no log tells which module signed, so this test cannot fail")
    judge(build, [os.environ["HSMSIGN_BINARY"], "--mode", "dev", "--config", LAYER / "conf/hsmsign/dev.yaml", "--dev-dir", keys, "--softhsm", module],
          "dev", build.top / "judge")
    return "SoftHSM %s, %d calls" % (version, signed)


def part_selftest(build):
    """oe-selftest's cases of this layer, with the test's image in the place of core-image-minimal."""
    _, lines = softhsm_recipe()
    other = Build(build.top / "selftest", build.series)
    shutil.rmtree(build.top / "selftest-st", ignore_errors=True)
    oecore = pathlib.Path(os.environ["OECORE_DIR"])
    # oe-selftest copies this directory and adds meta-selftest, whose recipes nobody needs here, in a git repository of its own.
    # Its report names each layer's commit, also of a checkout that belongs to someone else. The home is outside of that directory,
    # for it points variables that lie in it to the copy, where scarthgap's has no home.
    (build.home / ".gitconfig").write_text("[user]\n\tname = nobody\n\temail = nobody@example.invalid\n[safe]\n\tdirectory = *\n")
    other.configure(*lines, 'SSTATE_DIR = "%s"' % (build.top / "sstate"), 'BBMASK:append = " /meta-selftest/recipes-"')
    other.bitbake("-p")
    environment = {**other.environment(), "HOME": str(build.home), "BUILDDIR": str(other.top), "HSMSIGN_SELFTEST_IMAGE": "test-image",
                   "PATH": "%s:%s:%s" % (pathlib.Path(os.environ["BITBAKE_DIR"]) / "bin", oecore / "scripts", os.environ["PATH"])}
    seen = run([oecore / "scripts/oe-selftest", "-r", "hsmsign"], other.top, environment, codes=None)
    summary = re.search(r"Ran (\d+) tests? in", seen.stdout)
    check(seen.returncode == 0 and summary and int(summary.group(1)) >= 4 and "SKIPPED" not in seen.stdout, seen.stdout[-6000:])
    return "%s cases" % summary.group(1)


def part_archiver(build):
    """A key in a recipe's own source, packed by oe-core's archiver class for publication, ends a release; dev warns."""
    build.from_nothing()
    lines, _ = rehearsal(build, "release-one")
    # Of a directory it makes an archive; a single file it would copy.
    source = build.top / "planted/notes.txt"
    source.parent.mkdir(exist_ok=True)
    source.write_text("notes that may be published\n")
    archiver = ['INHERIT += "archiver"', 'ARCHIVER_MODE[src] = "original"', 'COPYLEFT_PN_INCLUDE = "test-files"',
                'TEST_PLANTED = "%s"' % source.parent]
    build.configure(*lines, *common(), *archiver)
    build.build()
    found = list((build.top / "tmp/deploy/sources").rglob("test-files-*.tar*"))
    check(found, "the archiver packed nothing, so this test cannot fail")
    log = (build.top / "tmp/log/hsmsign-gate.log").read_text()
    check(" scan %s %s\n" % (build.top / "tmp/deploy/images/test-arm64", build.top / "tmp/deploy/sources") in log, "sources were not looked at:\n" + log)
    key = run(["openssl", "genpkey", "-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]).stdout
    source.write_text(key[key.index("-----BEGIN"):])
    seen = build.bitbake(*TARGETS, build.fit, codes=None)
    named = found[0].name + "!/"
    check(seen.returncode != 0 and "leak scan" in seen.stdout and named in seen.stdout and "notes.txt" in seen.stdout,
          "exit code %d\n%s" % (seen.returncode, seen.stdout[-3000:]))
    check(key.splitlines()[-2] not in seen.stdout + (build.top / "tmp/log/hsmsign-gate.log").read_text(), "the report shows the key")
    build.configure(*DEV, *common(), *archiver)
    seen = build.bitbake(*TARGETS, build.fit)
    check("WARNING: leak scan" in seen.stdout and named in seen.stdout, seen.stdout[-3000:])
    source.write_text("notes that may be published\n")
    build.configure(*lines, *common(), *archiver)
    build.build()
    # U-Boot's source carries keys for its own tests: refused as well, until the lines of the documentation are in the policy.
    archives = ["-c", "deploy_archives", "u-boot"]
    seen = build.bitbake(*archives, codes=None)
    check(seen.returncode != 0 and "leak scan" in seen.stdout, "exit code %d\n%s" % (seen.returncode, seen.stdout[-3000:]))
    text = (LAYER.parent / "docs/yocto.md").read_text()
    allowed = textwrap.dedent(re.search(r"^    scan:\n(?:     .*\n)+", text, re.MULTILINE).group(0))
    with open(build.top / "release-one/hsmsign.yaml", "a") as file:
        file.write(allowed)
    build.bitbake(*archives)
    source.write_text(key[key.index("-----BEGIN"):])
    seen = build.bitbake(*TARGETS, build.fit, codes=None)
    check(seen.returncode != 0 and named in seen.stdout, "exit code %d\n%s" % (seen.returncode, seen.stdout[-3000:]))
    return "refused in release, said in dev: %s; U-Boot's with docs/yocto.md's list" % named


def part_checklayer(build):
    """yocto-check-layer."""
    build.configure()
    oecore = pathlib.Path(os.environ["OECORE_DIR"])
    build.layers(with_ours=False)
    # The test layer is configuration here, not dependency.
    environment = {**build.environment(), "BUILDDIR": str(build.top),
                   "PATH": "%s:%s:%s" % (pathlib.Path(os.environ["BITBAKE_DIR"]) / "bin", oecore / "scripts", os.environ["PATH"])}
    try:
        seen = run([oecore / "scripts/yocto-check-layer", LAYER, "--no-auto-dependency"], build.top, environment, codes=None)
    finally:
        build.layers(with_ours=True)
    check(seen.returncode == 0 and "PASS" in seen.stdout, seen.stdout[-6000:])
    return " ".join(re.findall(r"(?:OK|Ran \d+ tests)[^\n]*", seen.stdout))


PARTS = [part_off, part_errors, part_dev, part_warnings, part_modes, part_keys, part_hashes, part_canary, part_agent, part_wrongpin, part_elsewhere, part_gate, part_overruled, part_own, part_packaged, part_initramfs, part_multiconfig,
         part_wic, part_uboot, part_notree, part_spl, part_softhsm, part_selftest, part_archiver, part_source, part_checklayer]


def main():
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        print("SKIPPED: real bitbake; not set: %s" % " ".join(missing))
        return 0
    if os.geteuid() == 0:
        sys.exit("error: bitbake refuses root\nhint: run this as another user")
    for tool in ("fit_check_sign", "dtc", "veritysetup", "swupdate", "openssl", "debugfs", "softhsm2-util", "mkimage"):
        if not shutil.which(tool):
            sys.exit("error: %s is not in PATH, so nothing could be judged" % tool)
    text = (pathlib.Path(os.environ["OECORE_DIR"]) / "meta/conf/layer.conf").read_text()
    series = re.search(r'^LAYERSERIES_CORENAMES = "([^"]*)"', text, re.MULTILINE).group(1)
    build = Build(pathlib.Path(os.environ.get("TEST_BUILD") or "build-%s" % series).resolve(), series)
    wanted = sys.argv[1:]
    unknown = set(wanted) - {p.__name__[5:] for p in PARTS}
    if unknown:
        sys.exit("error: no such part: %s" % " ".join(sorted(unknown)))
    bad = 0
    for part in PARTS:
        name = part.__name__[5:]
        if wanted and name not in wanted:
            continue
        start = time.monotonic()
        try:
            detail, verdict = part(build), "ok"
        except Skipped as why:
            detail, verdict = str(why), "SKIPPED"
        except Failed as error:
            detail, verdict = str(error), "FAILED"
            bad += 1
        print("%-9s %-10s %-7s %4d s  %s" % (series, name, verdict, time.monotonic() - start, detail), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""The external tree with a real Buildroot: dev, release rehearsal, off, judged by other people's tools.

    BUILDROOT_DIR=~/buildroot buildroot.py [STEP…]

Environment:
    BUILDROOT_DIR       Buildroot's tree; without it nothing runs
    BUILDROOT_FRAGMENT  file with further lines of the configuration, see below
    BUILDROOT_DEMO      file with further lines for the demo alone, which has a kernel: Buildroot's test runner,
                        which gets the fragment too, refuses lines that take no effect
    BUILDROOT_OUTPUT    output directory, kept; default: a new one
    HSMSIGN_TEST_KERNEL an arm64 kernel, to boot down to userspace
    FIT_CHECK_SIGN      U-Boot's fit_check_sign, where it is not in PATH

Tools: veritysetup, openssl, swupdate, softhsm2-util, tmux, qemu-system-aarch64, fit_check_sign. A
judge that is not installed is named and left out, and fails the run when CI=true.

The fragment is for machines that cannot, or shall not, load everything from its own site. It has to choose an
aarch64 toolchain, and may hold BR2_DL_DIR, BR2_JLEVEL, mirrors (BR2_PRIMARY_SITE), and BR2_PACKAGE_OVERRIDE_FILE: that
makefile names a source tree for each archive that cannot be had, `BISON_OVERRIDE_SRCDIR = …`. A tree of a few
lines, whose "make install" links the machine's own tool into host/bin, stands in for host tools that are judged by
nobody here (bison, autoconf, genimage). Distributions' cross compilers are refused by Buildroot unless
"gcc -v" and -print-file-name are wrapped.
"""

import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

TESTS = pathlib.Path(__file__).resolve().parent
EXTERNAL = TESTS.parent
PIN = "rehearsal-pin-73519"  # looked for everywhere afterwards
ROLES = ("bootloader", "fit", "rootfs", "update")

TOOLCHAIN = """
BR2_aarch64=y
BR2_TOOLCHAIN_EXTERNAL=y
BR2_TOOLCHAIN_EXTERNAL_BOOTLIN=y
"""


class Failed(Exception):
    pass


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def must(condition, text):
    if not condition:
        raise Failed(text)
    say(f"  ok: {text}")


def fragment():
    name = os.environ.get("BUILDROOT_FRAGMENT")
    return pathlib.Path(name).read_text() if name else TOOLCHAIN


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Bench:
    def __init__(self, buildroot, output, external=EXTERNAL):
        self.buildroot, self.out, self.external = buildroot, output, external
        self.images = output / "images"
        self.logs = output / "test-logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.count = 0
        self.rehearsal = output / "rehearsal"
        self.missing = set()

    # Buildroot

    def make(self, *targets, ok=True, env=None):
        self.count += 1
        log = self.logs / f"{self.count:02}-{'-'.join(t.split('=')[0] for t in targets) or 'all'}.log"
        full = {**os.environ, "SOFTHSM2_CONF": str(self.rehearsal / "softhsm2.conf"), **(env or {})}
        with log.open("wb") as stream:
            code = subprocess.run(
                ["make", f"O={self.out}", f"BR2_EXTERNAL={self.external}", *targets],
                cwd=self.buildroot, env=full, stdout=stream, stderr=subprocess.STDOUT).returncode
        text = log.read_text(errors="replace")
        if ok and code != 0:
            raise Failed(f"make {' '.join(targets)} failed: {log}\n" + "\n".join(text.splitlines()[-15:]))
        if ok is False and code == 0:
            raise Failed(f"make {' '.join(targets)} was to fail: {log}")
        return text

    def configure(self, fixture="config"):
        self.configure_from(fragment() + (TESTS / "fixture" / fixture).read_text())

    def configure_from(self, text):
        defconfig = self.out / "test_defconfig"
        defconfig.write_text(text)
        self.make(f"BR2_DEFCONFIG={defconfig}", "defconfig")

    def options(self, **changes):
        """Changes .config as menuconfig would: values, then what follows from them."""
        path = self.out / ".config"
        lines = path.read_text().splitlines()
        for name, value in changes.items():
            lines = [line for line in lines if not re.match(rf"(# )?BR2_{name}[ =]", line)]
            lines.append(f"# BR2_{name} is not set" if value is None else f"BR2_{name}={value}")
        path.write_text("\n".join(lines) + "\n")
        self.make("olddefconfig")

    def option(self, name):
        found = re.search(rf"^BR2_{name}=(.*)$", (self.out / ".config").read_text(), re.M)
        return found and found.group(1)

    # Judges

    def has(self, tool):
        found = shutil.which(tool)
        if not found and tool not in self.missing:
            self.missing.add(tool)
            say(f"  SKIPPED: {tool} is not installed")
        return found

    def run(self, *command, env=None, timeout=120, cwd=None):
        done = subprocess.run([str(c) for c in command], capture_output=True, timeout=timeout, cwd=cwd,
                              env={**os.environ, **(env or {})}, text=True, errors="replace")
        return done.returncode, done.stdout + done.stderr

    def hsmsign(self, *args):
        code, text = self.run(self.out / "host/bin/hsmsign", *args,
                              env={"SOFTHSM2_CONF": str(self.rehearsal / "softhsm2.conf")})
        if code:
            raise Failed(f"hsmsign {' '.join(map(str, args))}: {text}")
        return text

    def certificate(self, mode, role):
        if mode == "release":
            return self.rehearsal / f"{role}.crt"
        out = self.out / f"dev-{role}.crt"
        out.unlink(missing_ok=True)
        self.hsmsign("--mode", "dev", "--config", self.rehearsal / "hsmsign.yaml",
                     "--dev-dir", self.out / ".hsmsign", "keys", "certificate", "--role", role, "-o", out)
        return out

    def flipped(self, path, offset):
        copy = self.out / f"flipped-{path.name}"
        data = bytearray(path.read_bytes())
        data[offset] ^= 1
        copy.write_bytes(data)
        return copy

    def judge_rootfs(self, mode, name):
        image, plain = self.images / f"{name}.verity", self.images / name
        roothash = (self.images / f"{name}.verity.roothash").read_text().strip()
        blocks = -(-plain.stat().st_size // 4096)
        if self.has("veritysetup"):
            def verify(path):
                return self.run("veritysetup", "verify", path, path, roothash,
                                f"--hash-offset={blocks * 4096}")[0]
            must(verify(image) == 0, f"veritysetup accepts {image.name}")
            must(verify(self.flipped(image, plain.stat().st_size // 2)) != 0,
                 f"veritysetup refuses {image.name} with a bit flipped")
        content = self.out / "roothash.txt"

        def smime(certificate, text):
            content.write_text(text)
            return self.run("openssl", "smime", "-verify", "-binary", "-inform", "der", "-in",
                            f"{image}.roothash.p7s", "-content", content, "-certfile", certificate,
                            "-nointern", "-noverify")[0]
        certificate = self.certificate(mode, "rootfs")
        must(smime(certificate, roothash) == 0, f"openssl: {name}'s root hash is signed by the {mode} key")
        must(smime(certificate, roothash[::-1]) != 0, "openssl refuses another root hash")
        other = self.certificate("release" if mode == "dev" else "dev", "rootfs")
        must(smime(other, roothash) != 0, "openssl refuses the other mode's certificate")

    def in_kernel(self):
        """An offset in image.itb that is in the middle of the kernel."""
        kernel = (self.images / "kernel.bin").read_bytes()
        return (self.images / "image.itb").read_bytes().index(kernel) + len(kernel) // 2

    def judge_fit_signature(self, mode, fit, tree, offset):
        """By U-Boot's own checker and the tree that holds the key; `offset` is in the middle of an image."""
        check = os.environ.get("FIT_CHECK_SIGN") or self.has("fit_check_sign")
        if not check:
            return

        def accepts(path):
            code, text = self.run(check, "-f", path, "-k", tree)
            return code == 0 and bool(re.search(rf"sha256,rsa\d+:\S*{mode}\S*\+ ", text))
        must(accepts(fit), f"fit_check_sign: {fit.name} is signed by the {mode} key in {tree.name}")
        must(not accepts(self.flipped(fit, offset)), f"fit_check_sign refuses {fit.name} with a bit flipped")

    def judge_fit(self, mode):
        fit = self.images / "image.itb"
        self.judge_fit_signature(mode, fit, self.images / "u-boot.dtb", self.in_kernel())
        data = fit.read_bytes()
        must(b"hsmsign\0" in data and b"root-hash\0" in data,
             "image.itb carries the node /firmware/hsmsign")

    def console(self, command, until):
        """Runs QEMU until its console shows the expression `until`, or it ends; returns the console's text."""
        process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(process.stdout.fileno(), False)
        text, end = "", time.time() + 900  # an emulated machine on a loaded one
        while time.time() < end:
            ended = process.poll() is not None
            text += (process.stdout.read() or b"").decode(errors="replace")
            if ended or re.search(until, text):
                break
            time.sleep(0.2)
        process.kill()
        process.wait()
        (self.logs / "qemu.log").write_text(text)
        return text

    def judge_qemu(self, mode):
        if not self.has("qemu-system-aarch64"):
            return

        # A real kernel goes on to Buildroot's own userspace
        done = "login:" if os.environ.get("HSMSIGN_TEST_KERNEL") else "Starting kernel"

        def boot(fit):
            command = ["qemu-system-aarch64", "-machine", "virt", "-accel", "tcg", "-cpu", "cortex-a57",
                       "-m", "1024", "-smp", "1", "-nographic", "-nic", "none", "-no-reboot",
                       "-bios", self.images / "u-boot.bin", "-dtb", self.images / "virt.dtb",
                       "-device", f"loader,file={fit},addr=0x50000000,force-raw=on"]
            return self.console(command, rf"{done}|=> $|Bad Data Hash|can't get kernel|Failed to verify")
        text = boot(self.images / "image.itb")
        must(re.search(rf"sha256,rsa\d+:\S*{mode}\S*\+ OK", text), f"U-Boot in QEMU accepts the {mode} FIT")
        must(done in text, f"and goes on to {done!r}")
        text = boot(self.flipped(self.images / "image.itb", self.in_kernel()))
        must("Starting kernel" not in text and re.search("Bad Data Hash|can't get kernel", text),
             "U-Boot in QEMU refuses a flipped kernel")

    def judge_uboot(self, mode):
        tree = self.out / "tree-of-u-boot.dtb"
        data = (self.images / "u-boot.bin").read_bytes()
        plain = (self.out / "build/uboot-custom/u-boot-nodtb.bin")
        plain = plain if plain.exists() else next(self.out.glob("build/uboot-*/u-boot-nodtb.bin"))
        tree.write_bytes(data[plain.stat().st_size:])
        dtc = self.out / "host/bin/dtc"
        for path in (tree, self.images / "u-boot.dtb"):
            code, text = self.run(dtc, "-q", "-I", "dtb", "-O", "dts", path)
            must(code == 0, f"dtc reads {path.name}")
            nodes = re.findall(r"\tkey-([^ ]*) \{", text)
            must(len(nodes) == 1 and mode in nodes[0], f"{path.name} holds one key, of {mode}: {nodes}")
            must('required = "conf"' in text, f"{path.name} requires it")

    def judge_swu(self, mode):
        if not self.has("swupdate"):
            return
        swu = self.images / "update.swu"

        def accepts(path, certificate):
            """By its words: swupdate 2022.12 exits 1 now and then after a success, and hangs now and then after either."""
            for _ in range(3):
                with tempfile.TemporaryDirectory() as private:
                    try:
                        return "SWUPDATE successful" in self.run("swupdate", "-c", "-H", "board:1.0", "-i", path, "-k", certificate,
                                                                 env={"TMPDIR": private}, timeout=60)[1]
                    except subprocess.TimeoutExpired:
                        pass
            raise Failed(f"swupdate -c -i {path} came to no end in 60 s, three times")
        ours, other = (self.certificate(m, "update") for m in (mode, "release" if mode == "dev" else "dev"))
        must(accepts(swu, ours), f"swupdate accepts update.swu by the {mode} certificate")
        must(not accepts(self.flipped(swu, swu.stat().st_size // 2), ours), "swupdate refuses a flipped image")
        must(not accepts(swu, other), "swupdate refuses the other mode's certificate")

    def partitions(self, disk):
        """Start and size in bytes, out of the master boot record."""
        entries = (disk[446 + 16 * n:462 + 16 * n] for n in range(4))
        table = [(512 * int.from_bytes(e[8:12], "little"), 512 * int.from_bytes(e[12:16], "little")) for e in entries]
        return [(start, size) for start, size in table if size]

    def judge_disk(self):
        """genimage put the signed files into disk.img: taken out again, they are accepted."""
        disk = (self.images / "disk.img").read_bytes()
        uboot, boot, root = (disk[start:start + size] for start, size in self.partitions(disk))
        must(uboot.startswith((self.images / "u-boot.bin").read_bytes()), "disk.img holds the U-Boot that was signed")
        part = self.out / "root.partition"
        part.write_bytes(root)
        plain = -(-(self.images / "rootfs.squashfs").stat().st_size // 4096) * 4096
        roothash = (self.images / "rootfs.squashfs.verity.roothash").read_text().strip()
        if self.has("veritysetup"):
            must(self.run("veritysetup", "verify", part, part, roothash, f"--hash-offset={plain}")[0] == 0,
                 "veritysetup accepts the root partition of disk.img")
        vfat, fit = self.out / "boot.partition", self.out / "from-disk.itb"
        vfat.write_bytes(boot)
        fit.unlink(missing_ok=True)
        if self.has("mcopy"):
            must(self.run("mcopy", "-i", vfat, "::image.itb", fit)[0] == 0 and
                 digest(fit) == digest(self.images / "image.itb"), "disk.img boots the signed image.itb")

    def judge_all(self, mode):
        for name in ("rootfs.ext4", "rootfs.squashfs"):
            self.judge_rootfs(mode, name)
        self.judge_fit(mode)
        self.judge_uboot(mode)
        self.judge_qemu(mode)
        self.judge_swu(mode)
        self.judge_disk()
        seen = dict(reversed(line.split()) for line in (self.out / "seen-by-post-image").read_text().splitlines())
        must(len(seen) >= 6 and all(digest(self.images / n) == d for n, d in seen.items()),
             "the post-image script saw every artifact as it is now: signed")

    # Steps

    def prepare(self):
        self.configure()
        self.make_rehearsal()

    def make_rehearsal(self):
        """A software token that stands in for the HSM, its keys, the policy and host settings."""
        base = self.rehearsal
        shutil.rmtree(base, ignore_errors=True)
        (base / "tokens").mkdir(parents=True)
        conf = base / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {base}/tokens\nobjectstore.backend = file\n")
        env = {"SOFTHSM2_CONF": str(conf)}
        util = shutil.which("softhsm2-util") or self.out / "host/bin/softhsm2-util"

        def check(*command):
            code, text = self.run(*command, env=env)
            if code:
                raise Failed(text)
        check(util, "--init-token", "--free", "--label", "rehearsal", "--pin", PIN, "--so-pin", PIN)
        lines = ["version: 1", "product: test", "release:", "  rehearsal: true", "  keys:"]
        for number, role in enumerate(ROLES):
            key, cert, spki = (base / f"{role}.{e}" for e in ("key", "crt", "spki"))
            usage = "codeSigning" if role != "update" else "emailProtection"
            check("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert,
                  "-days", "30", "-subj", f"/CN=rehearsal {role}", "-addext", f"extendedKeyUsage={usage}",
                  "-addext", "keyUsage=digitalSignature", "-addext", "basicConstraints=critical,CA:false")
            check(util, "--import", key, "--token", "rehearsal", "--label", f"{role}-1",
                  "--id", f"{number + 1:02}", "--pin", PIN)
            check("openssl", "pkey", "-in", key, "-pubout", "-outform", "DER", "-out", spki)
            key.unlink()
            lines += [f"    {role}:", "      token: hsm",
                      f'      uri: "pkcs11:token=rehearsal;object={role}-1"',
                      f'      pins: ["sha256:{digest(spki)}"]',
                      f"      certificate: {cert.name}", "      accept: [imported]"]
        (base / "hsmsign.yaml").write_text("\n".join(lines) + "\n")
        module = next(p for p in ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so",
                                  str(self.out / "host/lib/softhsm/libsofthsm2.so")) if os.path.exists(p))
        (base / "pin").write_text(PIN + "\n")
        (base / "pin").chmod(0o600)
        (base / "host.yaml").write_text(
            f"version: 1\ntokens:\n  hsm:\n    module: {module}\n    pin: {{ file: {base}/pin }}\n"
            f"audit: {{ directory: {base}/audit }}\n")

    def dev(self):
        self.options(HSMSIGN_DEV="y", HSMSIGN_OFF=None, HSMSIGN_RELEASE=None)
        self.make()
        self.judge_all("dev")

    def again(self):
        """A second make without changes signs again and changes no verdict."""
        before = digest(self.images / "u-boot.bin")
        self.make()
        must(digest(self.images / "u-boot.bin") == before, "signing again gives the same u-boot.bin")
        self.judge_all("dev")

    def release(self):
        """The stale case: only the mode changes, no clean, no package is built again."""
        stamp = next(self.out.glob("build/uboot-*/.stamp_built")).stat().st_mtime_ns
        self.options(HSMSIGN_RELEASE="y", HSMSIGN_DEV=None, HSMSIGN_OFF=None,
                     HSMSIGN_POLICY=f'"{self.rehearsal}/hsmsign.yaml"',
                     HSMSIGN_HOST_CONFIG=f'"{self.rehearsal}/host.yaml"', HSMSIGN_GATE=None)
        self.make()
        must(next(self.out.glob("build/uboot-*/.stamp_built")).stat().st_mtime_ns == stamp,
             "U-Boot was not built again")
        self.judge_all("release")

    def agent(self):
        """The build holds neither PIN nor module: an agent signs, started by somebody else."""
        base, socket = self.rehearsal, self.rehearsal / "agent.sock"
        held = base / "pin.held"
        settings = ("--config", base / "hsmsign.yaml", "--host-config", base / "host.yaml")
        command = [self.out / "host/bin/hsmsign", "--mode", "release", *settings, "agent", "--socket", socket]
        with (self.logs / "agent.log").open("wb") as log:
            server = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                      env={**os.environ, "SOFTHSM2_CONF": str(base / "softhsm2.conf")})
        try:
            end = time.time() + 60
            while not socket.exists() and server.poll() is None and time.time() < end:
                time.sleep(0.2)
            must(socket.exists(), "the agent listens")
            (base / "pin").rename(held)
            self.options(HSMSIGN_AGENT=f'"{socket}"', HSMSIGN_HOST_CONFIG='""')
            self.make(env={"SOFTHSM2_CONF": "/nowhere"})
            self.judge_all("release")
        finally:
            server.terminate()
            server.wait(30)
            if held.exists():
                held.rename(base / "pin")
        socket.unlink(missing_ok=True)
        text = self.make(ok=False)
        must("BR2_HSMSIGN_AGENT" in text and "hsmsign agent" in text, "an agent that is not there is named")
        self.options(HSMSIGN_AGENT='""', HSMSIGN_HOST_CONFIG=f'"{base}/host.yaml"')

    def gate(self):
        """The gate and the leak scan run last, and fail the build for what must not ship."""
        self.options(HSMSIGN_GATE="y")
        text = self.make()
        must(text.index("Release gate") > text.index("Executing post-image script"),
             "the gate runs after the post-image scripts, and passes the rehearsal")
        for name, text, word in self.unfit():
            path = self.images / name.partition(":")[0]
            path.write_bytes(text)
            found = self.make(ok=False)
            must(name in found, f"the build fails for {word}")
            path.unlink()
        self.make()
        self.options(HSMSIGN_GATE=None)

    def unfit(self):
        """What a careless post-image script may leave in the images directory."""
        work = self.out / "unfit.itb"
        work.unlink(missing_ok=True)
        self.hsmsign("--mode", "dev", "--dev-dir", self.out / ".hsmsign", "sign", "fit",
                     self.images / "image.itb", "-o", work)
        yield "old-dev.itb", work.read_bytes(), "a FIT with a development signature"
        code, key = self.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        must(code == 0, "openssl makes a key")
        yield "server.pem", key.encode(), "a private key"
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            member = tarfile.TarInfo("etc/server.pem")
            member.size = len(key)
            tar.addfile(member, io.BytesIO(key.encode()))
        yield "backup.tar.gz", packed.getvalue(), "a private key in an archive, which the leak scan finds"
        disk = self.images / "disk.img"
        start, _ = self.partitions(disk.read_bytes())[2]
        middle = start + (self.images / "rootfs.squashfs").stat().st_size // 2
        yield "other.img:partition 3", self.flipped(disk, middle).read_bytes(), "a disk with a changed root partition"
        start, size = self.partitions(disk.read_bytes())[0]
        yield "other.img:partition 1", self.flipped(disk, start + size - 1).read_bytes(), "a disk with more than U-Boot"

    def new_key(self):
        """Another key behind the same names, policy and mode."""
        before = digest(self.images / "u-boot.bin")
        self.make_rehearsal()
        self.make()
        must(digest(self.images / "u-boot.bin") != before, "a new key behind the same name is seen")
        self.judge_all("release")

    def no_pin(self):
        self.make("legal-info")
        found = []
        for place in (self.out / ".config", self.logs, self.out / "legal-info", self.images,
                      self.out / "build/.hsmsign", self.out / "build/build-time.log"):
            for path in [place] if place.is_file() else place.rglob("*"):
                if path.is_file() and PIN.encode() in path.read_bytes():
                    found.append(str(path))
        must(not found, f"the PIN is in no configuration, log, image or legal-info {found}")

    def bad_input(self):
        policy = self.option("HSMSIGN_POLICY")
        self.options(HSMSIGN_POLICY='""')
        text = self.make(ok=False)
        must("BR2_HSMSIGN_POLICY" in text, "release without policy is refused and names the option")
        plain = self.out.glob("build/uboot-*/u-boot.bin")
        must(digest(self.images / "u-boot.bin") == digest(next(plain)), "and leaves no old signature behind")
        self.options(HSMSIGN_POLICY=policy, HSMSIGN_UBOOT_DTBS='"u-boot.dtb other.dtb"')
        must("'other.dtb' is not in the images directory" in self.make(ok=False), "a missing tree is named")
        self.options(HSMSIGN_UBOOT_DTBS='"u-boot.dtb virt.dtb"')

    def tampered(self):
        """A SoftHSM or keys that others may write: one message, and no signature of before."""
        self.options(HSMSIGN_DEV="y", HSMSIGN_OFF=None, HSMSIGN_RELEASE=None)
        for path, mode in ((self.out / "host/lib/softhsm/libsofthsm2.so", 0o666), (self.out / ".hsmsign", 0o777)):
            before = path.stat().st_mode
            path.chmod(mode)
            text = self.make(ok=False)
            path.chmod(before)
            must(path.name in text and "others can write" in text, f"{path.name} that others can write is refused")
            must(not (self.images / "update.swu").exists(), "and nothing signed is left")
        self.make()

    def spl(self):
        """Another board, whose SPL has its tree behind it: U-Boot becomes a FIT that SPL demands."""
        names = ("TARGET_UBOOT_BOARD_DEFCONFIG", "TARGET_UBOOT_CONFIG_FRAGMENT_FILES")
        before = {name: self.option(name) for name in names}
        # With a dtc from outside, U-Boot for this board asks for pylibfdt too
        self.options(TARGET_UBOOT_BOARD_DEFCONFIG='"xilinx_zynqmp_mini_emmc0"', TARGET_UBOOT_SPL="y",
                     TARGET_UBOOT_NEEDS_PYLIBFDT="y",
                     TARGET_UBOOT_CONFIG_FRAGMENT_FILES=f'"{TESTS}/fixture/spl.config"', HSMSIGN_DEV="y",
                     HSMSIGN_OFF=None, HSMSIGN_RELEASE=None)
        self.options(HSMSIGN_UBOOT_FIT="y")
        self.make("uboot-dirclean")
        self.make()
        self.judge_spl("dev")
        self.options(HSMSIGN_RELEASE="y", HSMSIGN_DEV=None, HSMSIGN_OFF=None, HSMSIGN_GATE=None,
                     HSMSIGN_POLICY=f'"{self.rehearsal}/hsmsign.yaml"',
                     HSMSIGN_HOST_CONFIG=f'"{self.rehearsal}/host.yaml"')
        self.make()
        self.judge_spl("release")
        self.switch_off()
        self.make()
        plain = next(self.out.glob("build/uboot-*/spl/u-boot-spl.bin"))
        must(digest(self.images / "u-boot-spl.bin") == digest(plain), "off: u-boot-spl.bin is as U-Boot built it")
        must(not list(self.images.glob("hsmsign-*")), "and no piece of ours is left")
        # Buildroot takes nothing out of the images directory, and the gate refuses an SPL that demands no signature
        (self.images / "u-boot-spl.bin").unlink()
        self.options(TARGET_UBOOT_SPL=None, TARGET_UBOOT_NEEDS_PYLIBFDT=None, **before)
        self.make("uboot-dirclean")

    def judge_spl(self, mode):
        spl = (self.images / "u-boot-spl.bin").read_bytes()
        build = next(self.out.glob("build/uboot-*/spl"))
        code = (build / "u-boot-spl-nodtb.bin").read_bytes()
        pad = build / "u-boot-spl-pad.bin"
        code += pad.read_bytes() if pad.exists() else b""
        must(spl.startswith(code), "SPL's code is untouched")
        tree = self.out / "tree-of-spl.dtb"
        tree.write_bytes(spl[len(code):])
        fit = self.images / "u-boot.itb"
        data = fit.read_bytes()
        inner = (self.images / "hsmsign-u-boot.dtb").read_bytes()
        proper = (self.images / "hsmsign-u-boot-nodtb.bin").read_bytes()
        must(inner in data and proper in data, "u-boot.itb holds U-Boot and its tree")
        must(f"key-hsmsign-{mode}-fit".encode() in inner or mode.encode() in inner,
             f"that tree holds the {mode} key for FITs")
        # fit_check_sign computes the hash of trees alone; SPL does it for each image that it loads
        must(hashlib.sha256(proper).digest() in data, "and the hash of U-Boot")
        for offset in (data.index(inner) + len(inner) // 2, data.index(hashlib.sha256(proper).digest()) + 5):
            self.judge_fit_signature(mode, fit, tree, offset)

    def parallel(self):
        """Per-package directories, make -j, and a checkout without git in a path with spaces, behind a link."""
        place = self.out.parent / f"{self.out.name} with spaces"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(EXTERNAL.parent, place, symlinks=True, ignore=shutil.ignore_patterns(
            ".git", "target", ".hsmsign", "__pycache__"))
        link = self.out.parent / f"{self.out.name}-link"
        link.unlink(missing_ok=True)
        link.symlink_to(place / "buildroot-package")
        versions = {self.run(e / "package/hsmsign/pack-source.sh", "--version") for e in (EXTERNAL, link)}
        must(len(versions) == 1, f"with and without git, the same source has one version: {versions}")
        other = Bench(self.buildroot, self.out.parent / f"{self.out.name}-parallel", link)
        other.rehearsal, other.missing = self.rehearsal, self.missing
        other.configure("parallel.config")
        other.make("-j3")
        must((other.out / "per-package/host-hsmsign/host/bin/hsmsign").exists(),
             "packages have directories of their own")
        other.judge_swu("dev")

    def demo(self):
        """The demo's defconfig, down to its login; then what an attacker changes on the device is refused."""
        if not (self.has("qemu-system-aarch64") and self.has("veritysetup")):
            return
        demo = Bench(self.buildroot, self.out.parent / f"{self.out.name}-demo", self.external)
        demo.missing = self.missing
        text = (self.external / "configs/hsmsign_qemu_aarch64_virt_defconfig").read_text()
        if os.environ.get("BUILDROOT_FRAGMENT"):
            text = "\n".join(r for r in text.splitlines() if "TOOLCHAIN" not in r) + "\n" + fragment()
        if os.environ.get("BUILDROOT_DEMO"):
            text += pathlib.Path(os.environ["BUILDROOT_DEMO"]).read_text()
        demo.configure_from(text)
        demo.make()
        images = demo.images
        fit, root = (images / n for n in ("image.itb", "rootfs.squashfs.verity"))
        roothash = (images / f"{root.name}.roothash").read_text().strip()
        text = demo.boot_demo()
        must(re.search(r"sha256,rsa2048:\S*dev\S*\+ OK", text), "U-Boot accepts the demo's FIT")
        must(f"names root hash {roothash}" in text, "its initramfs reads the root hash out of the FIT")
        must("root filesystem verified" in text and "hsmsign-demo login:" in text, "and the demo goes on to its login")

        stopped = "no root filesystem that the FIT vouches for"
        text = demo.boot_demo(root=demo.flipped(root, 100))
        must(stopped in text and "login:" not in text, "a flipped bit in the root filesystem stops the demo")
        # As an attacker would: another content, and a hash tree that fits to it
        other, plain = demo.flipped(root, 100), (images / "rootfs.squashfs").stat().st_size
        offset = -(-plain // 4096) * 4096
        code, text = self.run("veritysetup", "format", other, other, f"--hash-offset={offset}",
                              f"--data-blocks={offset // 4096}")
        must(code == 0, "veritysetup makes a hash tree of its own")
        forged = re.search(r"Root hash:\s*([0-9a-f]{64})", text).group(1)
        text = demo.boot_demo(root=other)
        must(stopped in text and "login:" not in text, "another hash tree does too")
        changed = demo.out / "changed.itb"
        data = fit.read_bytes()
        for old in (roothash.encode(), bytes.fromhex(roothash)):
            data = data.replace(old, forged.encode() if len(old) == 64 else bytes.fromhex(forged))
        must(data != fit.read_bytes(), "and its root hash can be written into the FIT")
        changed.write_bytes(data)
        broken = demo.flipped(fit, fit.stat().st_size // 3)
        for kernel, word in ((changed, "another root hash in the FIT"), (broken, "a flipped bit in the FIT")):
            text = demo.boot_demo(kernel=kernel, root=other)
            must("Starting kernel" not in text and re.search("Bad Data Hash|can't get kernel|Failed to verify", text),
                 f"U-Boot refuses {word}")

    def boot_demo(self, **changed):
        """Boots by the demo's own script, with another FIT (`kernel`) or root filesystem (`root`)."""
        place = self.out / "device"
        shutil.rmtree(place, ignore_errors=True)
        (place / "images").mkdir(parents=True)
        (place / "host").symlink_to(self.out / "host")
        for name, key in (("u-boot.bin", None), ("u-boot-control.dtb", None), ("image.itb", "kernel"),
                          ("rootfs.squashfs.verity", "root")):
            (place / "images" / name).symlink_to(changed.get(key) or self.images / name)
        return self.console([self.external / "board/qemu_aarch64_virt/run.sh", place, "-no-reboot"],
                            r"login:|=> $|vouches for|Bad Data Hash|can't get kernel|Failed to verify|Kernel panic")

    def switch_off(self):
        """Off, and without genimage: its file names what only signing makes, and off forgets the options for that."""
        self.options(HSMSIGN_OFF="y", HSMSIGN_DEV=None, HSMSIGN_RELEASE=None,
                     ROOTFS_POST_IMAGE_SCRIPT='"$(BR2_EXTERNAL_HSMSIGN_PATH)/tests/fixture/post-image.sh"')

    def off(self):
        self.switch_off()
        self.make()
        names = {p.name for p in self.images.iterdir()}
        must(not any(re.search(r"verity|\.swu$|image\.itb|hsmsign|disk|vfat", n) for n in names),
             f"off leaves nothing: {names}")
        plain = next(self.out.glob("build/uboot-*/u-boot.bin"))
        must(digest(self.images / "u-boot.bin") == digest(plain), "u-boot.bin is as U-Boot built it")

    def menuconfig(self):
        """A user chooses the mode on a terminal."""
        if not self.has("tmux"):
            return
        self.options(HSMSIGN_OFF="y", HSMSIGN_DEV=None, HSMSIGN_RELEASE=None)
        socket = f"hsmsign-{os.getpid()}"

        def tmux(*arguments):
            return subprocess.run(["tmux", "-L", socket, *arguments], capture_output=True, text=True)

        tmux("new-session", "-d", "-x", "110", "-y", "45", "-c", str(self.buildroot),
             f"TERM=xterm make O={self.out} BR2_EXTERNAL={EXTERNAL} menuconfig; sleep 2")

        def screen():
            return tmux("capture-pane", "-p").stdout

        def wait(pattern, seconds=60):
            end = time.time() + seconds
            while time.time() < end:
                if re.search(pattern, screen()):
                    return
                time.sleep(0.3)
            raise Failed(f"menuconfig never showed {pattern!r}:\n{screen()}")

        def keys(*names):
            for name in names:
                tmux("send-keys", name)
                time.sleep(0.4)
        try:
            wait("Target options", 600)
            keys("E", "Enter")  # the hot key of "External options"
            wait("hsmsign: signed images")
            keys("Down", "Enter")  # below the heading with the tree's name
            wait(r"Sign images \(off\)")
            say("  ok: menuconfig shows the choice")
            keys("Enter")
            wait(r"\(X\) off")
            keys("Down", "h")
            wait("Development keys in a software token")
            say("  ok: its help is there")
            keys("Enter")
            wait(r"\( \) dev")
            keys("Space")
            wait(r"Sign images \(dev\)")
            must("Root filesystems" in screen(), "dev opens the menus of the artifacts")
            keys("Escape", "Escape", "Escape", "Escape", "Escape", "Escape")
            wait("save your new configuration")
            keys("Enter")
            time.sleep(2)
        finally:
            tmux("kill-server")
        must(self.option("HSMSIGN_DEV") == "y", "the saved configuration says dev")

    def legal(self):
        self.options(HSMSIGN_DEV="y", HSMSIGN_OFF=None, HSMSIGN_RELEASE=None)
        self.make("legal-info")
        legal = self.out / "legal-info"
        manifest = (legal / "host-manifest.csv").read_text()
        line = next(row for row in manifest.splitlines() if row.startswith('"hsmsign"'))
        must("MIT or Apache-2.0" in line and "vendored.tar.gz" in line, "the manifest has the package and its licence")
        texts = next((legal / "host-licenses").glob("hsmsign-[0-9]*"))
        index = (texts / "LICENSES-crates/INDEX.tsv").read_text()
        for crate in ("cryptoki-", "openssl-", "clap-"):
            must(any(row.startswith(crate) and row.split("\t")[1] for row in index.splitlines()),
                 f"the licence of {crate}* is there")
        must(list(legal.glob("host-sources/hsmsign-*/*-vendored.tar.gz")), "the source with its crates is there")

    def check_package(self):
        files = [p for p in EXTERNAL.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        # It finds flake8's settings in the current directory
        code, text = self.run(self.buildroot / "utils/check-package", "-b", *files, cwd=self.buildroot)
        must(code == 0, "check-package finds nothing" if code == 0 else text)

    def host_test(self):
        """Buildroot's own test runner, on our test_host_hsmsign.py, which lies in its tree meanwhile."""
        testing = self.buildroot / "support/testing"
        guest = testing / "tests/package/test_host_hsmsign.py"
        env = {"HSMSIGN_EXTERNAL": str(self.external), "HSMSIGN_TEST_CONFIG": os.environ.get("BUILDROOT_FRAGMENT", "")}
        downloads = self.option("DL_DIR").strip('"').replace("$(TOPDIR)", str(self.buildroot))
        shutil.copy(TESTS / guest.name, guest)
        try:
            code, text = self.run(testing / "run-tests", "-o", self.out / "host-test", "-d", downloads,
                                  "tests.package.test_host_hsmsign", env=env, timeout=7200, cwd=self.buildroot)
        finally:
            guest.unlink()
        (self.logs / "host-test.log").write_text(text)
        must(code == 0 and re.search(r"(?m)^Ran 1 test", text) and re.search(r"(?m)^OK", text),
             "the host test passes" if code == 0 else text[-2000:])


STEPS = ("prepare", "check_package", "dev", "again", "tampered", "release", "agent", "gate", "new_key", "no_pin",
         "bad_input", "off", "menuconfig", "legal", "spl", "parallel", "demo", "host_test")


def main():
    tree = os.environ.get("BUILDROOT_DIR")
    if not tree:
        print("SKIPPED: the tests with a real Buildroot; set BUILDROOT_DIR to run them", file=sys.stderr)
        return 0
    output = os.environ.get("BUILDROOT_OUTPUT") or tempfile.mkdtemp(prefix="hsmsign-buildroot-")
    bench = Bench(pathlib.Path(tree).resolve(), pathlib.Path(output).resolve())
    failed = []
    for step in sys.argv[1:] or STEPS:
        say(f"{step}")
        try:
            getattr(bench, step)()
        except Failed as reason:
            say(f"  FAILED: {reason}")
            failed.append(step)
            if step in ("prepare", "dev"):
                break
    if bench.missing and os.environ.get("CI") == "true":
        failed.append(f"missing tools: {', '.join(sorted(bench.missing))}")
    say(f"failed: {', '.join(failed)}" if failed else f"all steps passed; output in {output}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

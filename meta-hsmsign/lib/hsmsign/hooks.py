# SPDX-License-Identifier: MIT OR Apache-2.0
"""Where each series makes what is signed. All that differs between series stands here."""

import re
import uuid

# Hook, class of oe-core or meta-swupdate that a recipe inherits, our class.
_CLASSES = (
    ("fit", "kernel-fit-image", "hsmsign-fit"),  # wrynose
    ("fit", "kernel-fitimage", "hsmsign-fit"),  # scarthgap
    ("uboot", "uboot-sign", "hsmsign-uboot"),
    ("image", "image", "hsmsign-image"),
    ("swupdate", "swupdate-common", "hsmsign-swupdate"),
)

# wrynose's task that assembles a FIT, and scarthgap's.
COMPILE = "do_compile"
_ASSEMBLE = ("do_assemble_fitimage", "do_assemble_fitimage_initramfs")

# What oe-core's and meta-swupdate's own signing is told in the recipes of a hook: nothing of it may sign besides us.
FORCED = {
    "fit": {"UBOOT_SIGN_ENABLE": "0", "FIT_KERNEL_SIGN_ENABLE": "0", "FIT_GENERATE_KEYS": "0", "FIT_SIGN_INDIVIDUAL": "0"},
    "uboot": {
        "UBOOT_SIGN_ENABLE": "1",
        "FIT_SIGN_INDIVIDUAL": "0",
        "FIT_GENERATE_KEYS": "0",
        "UBOOT_FIT_GENERATE_KEYS": "0",
        # Only to be unset nowhere: no key is a file.
        "UBOOT_SIGN_KEYDIR": "hsmsign",
        "UBOOT_SIGN_KEYNAME": "hsmsign",
        "SPL_SIGN_KEYDIR": "hsmsign",
        "SPL_SIGN_KEYNAME": "hsmsign",
        "UBOOT_MKIMAGE_SIGN": "hsmsign_mkimage_sign",
        "UBOOT_FIT_CHECK_SIGN": "hsmsign_fit_check_sign",
    },
    "swupdate": {"SWUPDATE_SIGNING": ""},
}

# Variables by which users choose keys for those, and the values that choose none.
_CHOICES = {
    "fit": {
        "UBOOT_SIGN_KEYDIR": "", "UBOOT_SIGN_KEYNAME": "", "UBOOT_SIGN_IMG_KEYNAME": "", "FIT_KERNEL_SIGN_KEYDIR": "",
        "FIT_KERNEL_SIGN_KEYNAME": "", "FIT_GENERATE_KEYS": "0", "FIT_SIGN_INDIVIDUAL": "0",
    },
    "uboot": {
        "UBOOT_SIGN_KEYDIR": "", "UBOOT_SIGN_KEYNAME": "", "UBOOT_SIGN_IMG_KEYNAME": "", "SPL_SIGN_KEYDIR": "", "SPL_SIGN_KEYNAME": "",
        "FIT_GENERATE_KEYS": "0", "UBOOT_FIT_GENERATE_KEYS": "0", "FIT_SIGN_INDIVIDUAL": "0",
    },
    "swupdate": {
        "SWUPDATE_SIGNING": "", "SWUPDATE_PRIVATE_KEY": "", "SWUPDATE_CMS_KEY": "", "SWUPDATE_CMS_CERT": "", "SWUPDATE_SIGN_TOOL": "",
    },
}

# Of these, the ones to which wrynose's kernel-fit-image.bbclass gives another's value unless the user does.
_DEFAULTS = {"FIT_KERNEL_SIGN_KEYDIR": "UBOOT_SIGN_KEYDIR", "FIT_KERNEL_SIGN_KEYNAME": "UBOOT_SIGN_KEYNAME"}

# What no hash tree can be put under, or what is no file system.
_UNSUITABLE = ("tar", "cpio", "jffs2", "ubi", "ubifs", "wic", "iso", "container", "oci", "live", "hddimg")
_OTHER_VERITY_CLASSES = ("dm-verity-img",)


def classes(hooks, inherits):
    """Our classes for a recipe; `inherits(name)` says whether it inherits a class."""
    found = []
    for hook, theirs, ours in _CLASSES:
        if hook in hooks and ours not in found and inherits(theirs):
            found.append(ours)
    return found


def overruled(hook, value):
    """The user's settings that have no effect while the hook is active; `value(name)` tells each as it was before."""

    def chosen(name, none):
        found = value(name) or none
        other = _DEFAULTS.get(name)
        # bitbake leaves a reference to a variable that is not set as it stands.
        return found != none and not (other and found in (value(other), "${%s}" % other))

    return ['%s = "%s"' % (name, value(name)) for name, none in _CHOICES[hook].items() if chosen(name, none)]


def who_wins(recipe, mode, hook, settings):
    return (
        '%s: HSMSIGN_MODE = "%s" wins over %s: hsmsign signs with its own keys, and these have no effect here; remove them, or write '
        'HSMSIGN_HOOKS:remove = "%s" to go on without hsmsign' % (recipe, mode, ", ".join(settings), hook)
    )


def assembling_tasks(inherits):
    """The tasks that assemble the kernel's FIT."""
    return [COMPILE] if inherits("kernel-fit-image") else list(_ASSEMBLE)


def multiconfig_dependency(current, other, image):
    """An entry for `mcdepends`; `current` is BB_CURRENT_MC, which scarthgap calls `default` where bitbake wants nothing."""
    return "mc:%s:%s:%s:do_image_complete" % ("" if current in (None, "default") else current, other, image)


def fit_files(task, output_directory, initramfs):
    """The FITs that `task` has assembled, relative to ${B}; not each must be there."""
    if task == COMPILE:
        return ["fitImage"]
    if task == "do_assemble_fitimage":
        return ["%s/fitImage-none" % output_directory]
    if task == "do_assemble_fitimage_initramfs" and initramfs:
        return ["%s/fitImage-bundle" % output_directory, "%s/fitImage-%s" % (output_directory, initramfs)]
    return []


def verity_types(fstypes):
    """The image types that end in `.verity`, or have it before a compression."""
    found = []
    for fstype in fstypes:
        parts = fstype.split(".")
        if "verity" in parts[1:]:
            name = ".".join(parts[: parts.index("verity") + 1])
            if name not in found:
                found.append(name)
    return found


def verity_bases(fstypes):
    """The first part of those types: bitbake makes one task do_image_BASE for each."""
    found = []
    for fstype in verity_types(fstypes):
        base = fstype.split(".")[0]
        if base not in found:
            found.append(base)
    return found


def image_task(base):
    """bitbake's task that makes the types which begin with `base`."""
    return "do_image_" + base.replace("-", "_").replace(".", "_")


def leftovers(names, image, link, base):
    """Of the file names, what an earlier run of the task for `base` has made under another time.

    `image` is IMAGE_NAME, which has the time in it, `link` IMAGE_LINK_NAME, which has not.
    """
    kind = re.compile(r"\.%s(\.|$)" % re.escape(base))
    # Debug file systems are another task's.
    return [name for name in names
            if link and name.startswith(link + "-") and not name.startswith(image) and kind.search(name, len(link)) and "-dbg." not in name]


def unsuitable_types(fstypes):
    """Those types that no kernel can mount through dm-verity."""
    return [name for name in verity_types(fstypes) if name.split(".")[0] in _UNSUITABLE or len(name.split(".")) > 2]


def disks_that_wait(fstypes, value):
    """The types of an image that would wait for themselves: scarthgap's kernel deploys its FIT after the image, a disk after that."""
    waits = (
        value("HSMSIGN_ROOTFS_IMAGE") == value("PN")
        and not value("HSMSIGN_ROOTFS_MULTICONFIG")
        and "fit" in (value("HSMSIGN_HOOKS") or "").split()
        and "kernel-fitimage" in (value("KERNEL_CLASSES") or "").split()
    )
    return [name for name in fstypes if waits and name.split(".")[0] == "wic"]


def image_uuid(recipe, machine):
    """A UUID for an ext4 file system that is the same in every build."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, "%s.%s.hsmsign.invalid" % (recipe, machine)))


def ext_options(options, uuid):
    """What mkfs.ext4 is told besides `options`. What the user chose stays.

    UUID and hash seed must not be chance, and the kernel mounts no blocks that are smaller than dm-verity's, which mkfs.ext4
    makes for a small file system.
    """
    words = options.split()
    more = [] if any(word.startswith("-b") for word in words) else ["-b", "4096"]
    more += [] if "-U" in words else ["-U", uuid]
    extended = [words[n + 1] for n, word in enumerate(words[:-1]) if word == "-E"]
    if not any("hash_seed=" in word for word in extended):
        # Of several -E the last one counts, so it repeats the user's.
        more += ["-E", ",".join(extended[-1:] + ["hash_seed=" + uuid])]
    return " ".join(more)


def other_verity_class(inherits):
    """Another layer's class for the type `verity`, if the recipe inherits one."""
    return next((name for name in _OTHER_VERITY_CLASSES if inherits(name)), None)


def two_verity_classes(recipe, other):
    return (
        "%s: %s.bbclass makes the image type `verity` too; remove it from IMAGE_CLASSES, or write "
        'HSMSIGN_HOOKS:remove = "image"' % (recipe, other)
    )


def unsuitable(recipe, fstype):
    return (
        '%s: IMAGE_FSTYPES has "%s", which the kernel cannot mount through dm-verity; write IMAGE_FSTYPES += "ext4.verity", '
        "or squashfs.verity, erofs.verity" % (recipe, fstype)
    )


def no_description(image, fstype, path):
    return (
        'HSMSIGN_ROOTFS_IMAGE = "%s": it was built but left no %s; write IMAGE_FSTYPES += "%s" for that image, '
        "or set HSMSIGN_ROOTFS_TYPE to the type it has" % (image, path, fstype)
    )


def no_fit(recipe, path):
    return (
        "%s: do_compile left no %s, so there is no FIT to sign; rename it where it is deployed instead, or sign it in a task of "
        'your own and write HSMSIGN_HOOKS:remove:pn-%s = "fit"' % (recipe, path, recipe)
    )


def disk_waits_for_itself(recipe, fstype):
    return (
        '%s: IMAGE_FSTYPES has "%s", and HSMSIGN_ROOTFS_IMAGE names this image: a disk waits for the kernel\'s do_deploy, whose FIT '
        "waits for this image; make the disk in an image recipe of its own, as docs/yocto.md shows" % (recipe, fstype)
    )


def other_signer(recipe, hook, value):
    return (
        '%s: UBOOT_MKIMAGE_SIGN = "%s" is another layer\'s signer, and only one can sign; remove that line, or write '
        'HSMSIGN_HOOKS:remove = "%s"' % (recipe, value, hook)
    )


def no_control_tree(recipe, binary):
    return (
        "%s: U-Boot has no control tree of its own (%s was not built), so the fit key went nowhere and U-Boot will boot unsigned "
        "FITs; configure it with CONFIG_OF_SEPARATE=y and without CONFIG_OF_OMIT_DTB, or, if a stage before U-Boot brings a tree with "
        'the key, write HSMSIGN_HOOKS:remove = "uboot"' % (recipe, binary or 'UBOOT_DTB_BINARY = "", and no tree')
    )


def encrypted_description(recipe, value):
    return (
        '%s: SWUPDATE_ENCRYPT_SWDESC = "%s": hsmsign cannot sign an encrypted sw-description; remove it, or write '
        'HSMSIGN_HOOKS:remove = "swupdate"' % (recipe, value)
    )

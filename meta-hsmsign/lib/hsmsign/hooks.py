# SPDX-License-Identifier: MIT OR Apache-2.0
"""Where each series makes what is signed. All that differs between series stands here."""

import uuid

# Hook, class of oe-core or meta-swupdate that a recipe inherits, our class.
_CLASSES = (
    ("fit", "kernel-fit-image", "hsmsign-fit"),  # wrynose
    ("fit", "kernel-fitimage", "hsmsign-fit"),  # scarthgap
    ("uboot", "uboot-sign", "hsmsign-uboot"),
    ("image", "image", "hsmsign-image"),
    ("swupdate", "swupdate-common", "hsmsign-swupdate"),
)

# scarthgap's tasks that assemble a FIT.
ASSEMBLE = ("do_assemble_fitimage", "do_assemble_fitimage_initramfs")

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


def fit_tasks(inherits, root_hash):
    """The tasks that sign the kernel's FIT, and which of them is a task of ours."""
    if inherits("kernel-fit-image"):
        return ["do_compile"], None
    if root_hash:
        return ["do_hsmsign_fit"], "do_hsmsign_fit"
    return list(ASSEMBLE), None


def fit_files(task, output_directory, initramfs):
    """The FITs that `task` has assembled, relative to ${B}; not each must be there."""
    if task == "do_compile":
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


def unsuitable_types(fstypes):
    """Those types that no kernel can mount through dm-verity."""
    return [name for name in verity_types(fstypes) if name.split(".")[0] in _UNSUITABLE or len(name.split(".")) > 2]


def image_uuid(recipe, machine):
    """A UUID for an ext4 file system that is the same in every build."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, "%s.%s.hsmsign.invalid" % (recipe, machine)))


def ext_options(options, uuid):
    """What mkfs.ext4 is told besides `options` so that UUID and hash seed are not chance. What the user chose stays."""
    words = options.split()
    more = [] if "-U" in words else ["-U", uuid]
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


def other_signer(recipe, value):
    return (
        '%s: UBOOT_MKIMAGE_SIGN = "%s" is another layer\'s signer, and only one can sign; remove that line, or write '
        'HSMSIGN_HOOKS:remove = "uboot"' % (recipe, value)
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

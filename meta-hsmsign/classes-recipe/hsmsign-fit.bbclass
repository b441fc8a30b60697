# Signs the kernel's FIT, in the series' own place (lib/hsmsign/hooks.py), and closes the chain to the root filesystem.
#
#   HSMSIGN_ROOTFS_IMAGE = "acme-image"
#
# With it the device trees of the FIT carry the root hash of that image, and it is signed after that.

inherit hsmsign

HSMSIGN_ROOTFS_IMAGE ??= ""
HSMSIGN_ROOTFS_IMAGE[doc] = "The image recipe whose root hash the FIT's device trees carry in /firmware/hsmsign. Empty: none."

HSMSIGN_ROOTFS_TYPE ??= "ext4.verity"
HSMSIGN_ROOTFS_TYPE[doc] = "Which of that image's types the device mounts."

HSMSIGN_ROOTFS_MULTICONFIG ??= ""
HSMSIGN_ROOTFS_MULTICONFIG[doc] = "The multiconfig that makes that image, if it is another one. Set HSMSIGN_ROOTFS_DEPLOY_DIR with it."

HSMSIGN_ROOTFS_DEPLOY_DIR ??= "${DEPLOY_DIR_IMAGE}"
HSMSIGN_ROOTFS_DEPLOY_DIR[doc] = "Where that image is deployed."

HSMSIGN_ROOTFS_DESCRIPTION ??= "${HSMSIGN_ROOTFS_DEPLOY_DIR}/${HSMSIGN_ROOTFS_IMAGE}${IMAGE_MACHINE_SUFFIX}${IMAGE_NAME_SUFFIX}.${HSMSIGN_ROOTFS_TYPE}.verity.json"
HSMSIGN_ROOTFS_DESCRIPTION[doc] = "The description that signing the root filesystem left, as deployed."

HSMSIGN_FIT_UPDATE_CERTIFICATE ??= "${@'1' if d.getVar('KERNEL_DEVICETREE') or d.getVar('PREFERRED_PROVIDER_virtual/dtb') else '0'}"
HSMSIGN_FIT_UPDATE_CERTIFICATE[doc] = "'1': the FIT's device trees carry the certificate that update bundles are checked with. Default: if there are device trees."

HSMSIGN_FIT_OPTIONS ??= ""
HSMSIGN_FIT_OPTIONS[doc] = "More options of `hsmsign sign fit`, such as --image-signatures."

# oe-core signs with key files; hsmsign signs what it has assembled, instead.
HSMSIGN_OVERRULED := "${@hsmsign_take_over(d, 'fit')}"

# The options of `hsmsign sign fit`, and with them the files that they name.
def hsmsign_fit_options(d):
    import os, hsmsign.hooks
    options = (d.getVar('HSMSIGN_FIT_OPTIONS') or '').split()
    rootfs = d.getVar('HSMSIGN_ROOTFS_IMAGE')
    if rootfs:
        description = d.getVar('HSMSIGN_ROOTFS_DESCRIPTION')
        if not os.path.exists(description):
            bb.fatal(hsmsign.hooks.no_description(rootfs, d.getVar('HSMSIGN_ROOTFS_TYPE'), description))
        options += ['--rootfs', description]
    if d.getVar('HSMSIGN_FIT_UPDATE_CERTIFICATE') == '1':
        certificate = d.expand('${WORKDIR}/hsmsign-update.pem')
        hsmsign_run(d, ['keys', 'certificate', '--role', 'update', '-o', certificate])
        options += ['--update-certificate', certificate]
    return options

def hsmsign_fit_paths(d, task):
    import os, hsmsign.hooks
    names = hsmsign.hooks.fit_files(task, d.getVar('KERNEL_OUTPUT_DIR'), d.getVar('INITRAMFS_IMAGE'))
    return [path for path in (os.path.join(d.getVar('B'), name) for name in names) if os.path.exists(path)]

# After the task that assembles: it begins from nothing each time, so no signature is ever left over.
python hsmsign_fit_sign() {
    options = hsmsign_fit_options(d)
    for path in hsmsign_fit_paths(d, 'do_' + d.getVar('BB_CURRENTTASK')):
        hsmsign_run(d, ['sign', 'fit', path, '-o', path] + options)
}

# After do_deploy has put it in DEPLOYDIR, under whatever name.
python hsmsign_fit_deploy() {
    import hsmsign.hooks
    options = hsmsign_fit_options(d)
    for made in hsmsign_fit_paths(d, hsmsign.hooks.COMPILE):
        deployed = hsmsign.hooks.same_files(made, d.getVar('DEPLOYDIR'))
        if not deployed:
            bb.fatal(hsmsign.hooks.fit_not_deployed(d.getVar('PN'), made))
        for path in deployed:
            hsmsign_run(d, ['sign', 'fit', path, '-o', path] + options)
}

# For a task of ours, which may run again without the one that assembles: it signs this copy.
python hsmsign_fit_keep() {
    import shutil
    for path in hsmsign_fit_paths(d, 'do_' + d.getVar('BB_CURRENTTASK')):
        shutil.copyfile(path, path + '.unsigned')
}

python do_hsmsign_fit() {
    import hsmsign.hooks
    options = hsmsign_fit_options(d)
    for task in hsmsign.hooks.ASSEMBLE:
        for path in hsmsign_fit_paths(d, task):
            hsmsign_run(d, ['sign', 'fit', path + '.unsigned', '-o', path] + options)
}

python () {
    hsmsign_enforce(d, 'fit')
    import hsmsign.hooks
    rootfs = d.getVar('HSMSIGN_ROOTFS_IMAGE')
    tasks, own = hsmsign.hooks.fit_tasks(lambda name: bb.data.inherits_class(name, d), bool(rootfs))
    if 'get_kernelversion_file' in (d.getVar('PKGV', False) or ''):
        # wrynose reads it from the kernel's build directory. A FIT that is signed anew with a kernel from shared state finds
        # none, and its packages would have the version `None`, which dpkg refuses.
        d.setVar('PKGV', "${@get_kernelversion_file('${STAGING_KERNEL_BUILDDIR}') or d.getVar('PV')}")
    for task in tasks:
        # With a root hash the FIT is signed on its way to the deploy directory, and the packaged copy stays unsigned: a root
        # filesystem with kernel packages waits for those, and nothing is packaged anew because a file of the image has changed.
        if task == own:
            # scarthgap's kernel deploys by what lies in ${B}.
            bb.build.addtask(task, 'do_deploy', 'do_install %s' % ' '.join(hsmsign.hooks.ASSEMBLE), d)
            for assemble in hsmsign.hooks.ASSEMBLE:
                d.appendVarFlag(assemble, 'postfuncs', ' hsmsign_fit_keep')
        elif task == 'do_deploy':
            # Before sstate's own function, which takes it away.
            d.prependVarFlag(task, 'postfuncs', 'hsmsign_fit_deploy ')
        else:
            d.appendVarFlag(task, 'postfuncs', ' hsmsign_fit_sign')
        hsmsign_task(d, task)
        if rootfs:
            if bb.data.inherits_class('kernel-fit-image', d):
                # Images are never in shared state. One that comes out otherwise when it is built again (a postprocess
                # command with a time in it) must not meet a FIT with the root hash of the earlier one.
                d.setVar('SSTATE_SKIP_CREATION:task-deploy', '1')
            other = d.getVar('HSMSIGN_ROOTFS_MULTICONFIG')
            if other:
                d.appendVarFlag(task, 'mcdepends', ' ' + hsmsign.hooks.multiconfig_dependency(d.getVar('BB_CURRENT_MC'), other, rootfs))
            else:
                d.appendVarFlag(task, 'depends', ' %s:do_image_complete' % rootfs)
}

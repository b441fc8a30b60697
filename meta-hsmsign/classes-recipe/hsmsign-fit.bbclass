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

# The FITs that a task has assembled. scarthgap's make one or another; where there must be one, none is a mistake.
def hsmsign_fit_paths(d, task):
    import os, hsmsign.hooks
    names = hsmsign.hooks.fit_files(task, d.getVar('KERNEL_OUTPUT_DIR'), d.getVar('INITRAMFS_IMAGE'))
    paths = [os.path.join(d.getVar('B'), name) for name in names]
    found = [path for path in paths if os.path.exists(path)]
    if task == hsmsign.hooks.COMPILE and not found:
        bb.fatal(hsmsign.hooks.no_fit(d.getVar('PN'), paths[0]))
    return found

def hsmsign_fit_all_paths(d):
    import hsmsign.hooks
    tasks = hsmsign.hooks.assembling_tasks(lambda name: bb.data.inherits_class(name, d))
    return [path for task in tasks for path in hsmsign_fit_paths(d, task)]

# After the task that assembles: it begins from nothing each time, so no signature is ever left over.
python hsmsign_fit_sign() {
    options = hsmsign_fit_options(d)
    for path in hsmsign_fit_paths(d, 'do_' + d.getVar('BB_CURRENTTASK')):
        hsmsign_run(d, ['sign', 'fit', path, '-o', path] + options)
}

# For do_hsmsign_fit, which may run again without the task that assembles: it signs this copy.
python hsmsign_fit_keep() {
    import shutil
    for path in hsmsign_fit_paths(d, 'do_' + d.getVar('BB_CURRENTTASK')):
        shutil.copyfile(path, path + '.unsigned')
}

# And for do_install, which may run again after it: no package has a FIT with the root hash of an earlier image.
python hsmsign_fit_restore() {
    import os, shutil
    for path in hsmsign_fit_all_paths(d):
        # scarthgap assembles the one with the initramfs after do_install.
        if os.path.exists(path + '.unsigned'):
            shutil.copyfile(path + '.unsigned', path)
}

# With a root hash the FIT is signed on its way to the deploy directory, and the packaged copy stays unsigned: a root
# filesystem with kernel packages waits for those, and nothing is packaged anew because a file of the image has changed.
python do_hsmsign_fit() {
    options = hsmsign_fit_options(d)
    for path in hsmsign_fit_all_paths(d):
        hsmsign_run(d, ['sign', 'fit', path + '.unsigned', '-o', path] + options)
}

python () {
    hsmsign_enforce(d, 'fit')
    import hsmsign.hooks
    rootfs = d.getVar('HSMSIGN_ROOTFS_IMAGE')
    assembling = hsmsign.hooks.assembling_tasks(lambda name: bb.data.inherits_class(name, d))
    if 'get_kernelversion_file' in (d.getVar('PKGV', False) or ''):
        # wrynose reads it from the kernel's build directory. A FIT that is signed anew with a kernel from shared state finds
        # none, and its packages would have the version `None`, which dpkg refuses.
        d.setVar('PKGV', "${@get_kernelversion_file('${STAGING_KERNEL_BUILDDIR}') or d.getVar('PV')}")
    if not rootfs:
        for task in assembling:
            d.appendVarFlag(task, 'postfuncs', ' hsmsign_fit_sign')
            hsmsign_task(d, task)
        return
    for task in assembling:
        d.appendVarFlag(task, 'postfuncs', ' hsmsign_fit_keep')
    d.appendVarFlag('do_install', 'prefuncs', ' hsmsign_fit_restore')
    bb.build.addtask('do_hsmsign_fit', 'do_deploy', 'do_install ' + ' '.join(assembling), d)
    hsmsign_task(d, 'do_hsmsign_fit')
    if bb.data.inherits_class('kernel-fit-image', d):
        # Images are never in shared state. One that comes out otherwise when it is built again (a postprocess
        # command with a time in it) must not meet a FIT with the root hash of the earlier one.
        d.setVar('SSTATE_SKIP_CREATION:task-deploy', '1')
    other = d.getVar('HSMSIGN_ROOTFS_MULTICONFIG')
    if other:
        d.appendVarFlag('do_hsmsign_fit', 'mcdepends', ' ' + hsmsign.hooks.multiconfig_dependency(d.getVar('BB_CURRENT_MC'), other, rootfs))
    else:
        d.appendVarFlag('do_hsmsign_fit', 'depends', ' %s:do_image_complete' % rootfs)
}

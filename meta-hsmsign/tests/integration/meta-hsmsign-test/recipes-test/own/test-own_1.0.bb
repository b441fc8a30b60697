SUMMARY = "A recipe with an artifact of its own, as the head of hsmsign.bbclass describes"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit deploy nopackages
inherit ${@'hsmsign' if d.getVar('HSMSIGN_MODE') in ('dev', 'release') else ''}

INHIBIT_DEFAULT_DEPS = "1"
PACKAGE_ARCH = "${MACHINE_ARCH}"
# It reads HSMSIGN_MODE, which only the layer sets; yocto-check-layer compares the world with and without the layer.
EXCLUDE_FROM_WORLD = "1"

python do_deploy() {
    import os
    path = os.path.join(d.getVar('DEPLOYDIR'), 'own.bin')
    with open(path, 'w') as file:
        file.write('what this recipe makes\n')
    if d.getVar('HSMSIGN_MODE') in ('dev', 'release'):
        hsmsign_run(d, ['sign', 'blob', path, '--role', 'update', '--format', 'cms', '-o', path + '.sig'])
}
addtask deploy before do_build after do_compile

python () {
    if d.getVar('HSMSIGN_MODE') in ('dev', 'release'):
        hsmsign_task(d, 'do_deploy')
}

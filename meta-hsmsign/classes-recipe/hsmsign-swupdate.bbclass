# Signs the bundle that meta-swupdate's classes make, after do_swuimage and before it is deployed.
#
# meta-swupdate makes it unsigned; its sw-description functions work as ever.

inherit hsmsign

HSMSIGN_OVERRULED := "${@hsmsign_take_over(d, 'swupdate')}"

python hsmsign_sign_bundles() {
    import glob, os
    bundles = [p for p in glob.glob(d.expand('${SWUDEPLOYDIR}/*.swu')) if not os.path.islink(p)]
    if not bundles:
        bb.fatal('do_swuimage of %s left no bundle in %s' % (d.getVar('PN'), d.getVar('SWUDEPLOYDIR')))
    for bundle in bundles:
        hsmsign_run(d, ['sign', 'swu', bundle, '-o', bundle])
}

python () {
    hsmsign_enforce(d, 'swupdate')
    import hsmsign.hooks
    if d.getVar('SWUPDATE_ENCRYPT_SWDESC'):
        bb.fatal(hsmsign.hooks.encrypted_description(d.getVar('PN'), d.getVar('SWUPDATE_ENCRYPT_SWDESC')))
    # Before sstate's own function, which takes the bundle away.
    d.prependVarFlag('do_swuimage', 'postfuncs', 'hsmsign_sign_bundles ')
    hsmsign_task(d, 'do_swuimage')
}

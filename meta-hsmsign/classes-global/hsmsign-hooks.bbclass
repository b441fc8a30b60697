# Gives recipes that make a signable artifact the class that signs it.
#
# layer.conf inherits this class for every recipe, and only while HSMSIGN_MODE is 'dev' or 'release':
#
#   HSMSIGN_MODE = "dev"
#
# What is known when the configuration has been read is checked here, once.

HSMSIGN_POLICY ??= "${@'${LAYERDIR_hsmsign}/conf/hsmsign/dev.yaml' if d.getVar('HSMSIGN_MODE') == 'dev' else ''}"
HSMSIGN_POLICY[doc] = "The product's hsmsign.yaml, absolute. Needed for 'release'. Its bytes, and those of the certificates it names, are in the hash of every signing task."

HSMSIGN_DEV_DIR ??= "${TOPDIR}/hsmsign-dev"
HSMSIGN_DEV_DIR[doc] = "Where dev mode keeps its keys, one set a build directory. Name another directory of yours to use one set in several."

HSMSIGN_HOST_CONFIG ??= ""
HSMSIGN_HOST_CONFIG[doc] = "This machine's settings for 'release': modules, PIN sources, agent. The PIN is never a variable."

HSMSIGN_AGENT ??= "${@'' if d.getVar('HSMSIGN_HOST_CONFIG') else '/run/hsmsign/agent.sock'}"
HSMSIGN_AGENT[doc] = "Path of the agent's socket for 'release'. With HSMSIGN_HOST_CONFIG its default is empty: what the host settings say."

HSMSIGN_SOFTHSM ??= ""
HSMSIGN_SOFTHSM[doc] = "SoftHSMv2's module (libsofthsm2.so) for 'dev'. Empty: meta-oe's softhsm-native."

HSMSIGN_BINARY ??= ""
HSMSIGN_BINARY[doc] = "A hsmsign that was built elsewhere, for oe-core with a Rust older than the signer needs. Empty: built from source."

HSMSIGN_HOOKS ??= "fit uboot image swupdate"
HSMSIGN_HOOKS[doc] = "Which hooks are active: 'fit' (kernel FIT), 'uboot' (control trees, U-Boot's FIT), 'image' (.verity image types), 'swupdate' (bundles)."

HSMSIGN_DEV_GATE ??= "1"
HSMSIGN_DEV_GATE[doc] = "'0': no release gate and no leak scan after a build in 'dev', where they only warn. After a 'release' they always run."

HSMSIGN_KEY_IDENTITY ??= ""
HSMSIGN_KEY_IDENTITY[doc] = "Made by the layer: which keys sign. In dev the set id of HSMSIGN_DEV_DIR. It is in the hash of every signing task."

# What is local to this machine is in no hash. The policy's content is, through file-checksums.
BB_BASEHASH_IGNORE_VARS:append = " HSMSIGN_POLICY HSMSIGN_DEV_DIR HSMSIGN_HOST_CONFIG HSMSIGN_AGENT HSMSIGN_SOFTHSM HSMSIGN_CALL HSMSIGN_DEV_GATE HSMSIGN_RECORD LAYERDIR_hsmsign"
# Nor does it cost a new parse.
BB_HASHCONFIG_IGNORE_VARS:append = " HSMSIGN_AGENT HSMSIGN_HOST_CONFIG"

addhandler hsmsign_configuration
hsmsign_configuration[eventmask] = "bb.event.ConfigParsed"
python hsmsign_configuration() {
    import hsmsign.settings
    names = list(e.data.keys())
    environment = e.data.getVar('BB_ORIGENV', False)
    try:
        identity = hsmsign.settings.check(
            {name: e.data.getVar(name) for name in hsmsign.settings.VARIABLES},
            names, environment.keys() if environment else [],
            (e.data.getVar('BBFILE_COLLECTIONS') or '').split())
    except hsmsign.settings.SettingsError as error:
        bb.fatal(str(error))
    e.data.setVar('HSMSIGN_KEY_IDENTITY', identity)
}

# Release gate and leak scan (of the archiver's sources too), after the last task: only then nothing in the deploy directory is left over from another
# mode because its recipe's turn had not come. In dev only after a build that has signed something.
addhandler hsmsign_gate
hsmsign_gate[eventmask] = "bb.event.BuildCompleted"
python hsmsign_gate() {
    import os, hsmsign.command, hsmsign.gate, hsmsign.settings
    d = e.data
    release = d.getVar('HSMSIGN_MODE') == 'release'
    record = d.getVar('HSMSIGN_RECORD')
    signed = os.path.exists(record)
    if e.getFailures() or e._interrupted or not (release or signed and d.getVar('HSMSIGN_DEV_GATE') != '0'):
        return
    images = d.getVar('DEPLOY_DIR_IMAGE')
    if not os.path.isdir(images):
        return
    sysroots = [d.expand('${COMPONENTS_DIR}/${BUILD_ARCH}/hsmsign-native')]
    if signed:
        with open(record) as file:
            sysroots.insert(0, file.read().strip())
    program, sysroot = hsmsign.gate.tool(d.getVar('HSMSIGN_BINARY'), sysroots)
    if program:
        call = hsmsign.command.call({name: d.getVar(name) for name in hsmsign.settings.VARIABLES}, '%s/usr/lib' % sysroot, program)
        bad, warnings = hsmsign.gate.run(hsmsign.gate.commands(call, images, d.getVar('DEPLOY_DIR_SRC') or d.expand('${DEPLOY_DIR}/sources')), d.expand('${LOG_DIR}/hsmsign-gate.log'))
    else:
        bad, warnings = ['release gate: hsmsign-native is in none of %s; build it: bitbake hsmsign-native' % ' '.join(sysroots)], []
    for text in bad:
        (bb.error if release else bb.warn)(text)
    for text in warnings:
        bb.warn(text)
    if signed and not bad:
        os.unlink(record)
}

# Where signing tasks leave their native sysroot, in a place of which pseudo keeps no records.
HSMSIGN_RECORD = "${STAMPS_DIR}/hsmsign-signed"
python hsmsign_signed() {
    with open(d.getVar('HSMSIGN_RECORD'), 'w') as file:
        file.write(d.getVar('STAGING_DIR_NATIVE'))
}
hsmsign_signed[vardepsexclude] = "HSMSIGN_RECORD STAGING_DIR_NATIVE"

# A tool of the build is nothing that a device boots, and insane.bbclass warns (native-last) of any class behind native.
def hsmsign_recipe_class(d):
    return '' if any(bb.data.inherits_class(name, d) for name in ('native', 'nativesdk')) else 'hsmsign-recipe'

# Deferred, since it depends on what the recipe and its appends have inherited.
inherit_defer ${@hsmsign_recipe_class(d)}

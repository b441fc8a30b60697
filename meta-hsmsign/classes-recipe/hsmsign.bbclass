# What all signing classes share: the tool, how it is called, what is in the hash of a task that signs.
#
# The hooks inherit it where it is needed. A recipe with an artifact of its own may do so as well, while a mode is set:
#
#   inherit ${@'hsmsign' if d.getVar('HSMSIGN_MODE') in ('dev', 'release') else ''}
#   python acme_sign() {
#       src = d.expand('${DEPLOYDIR}/acme.bin')
#       hsmsign_run(d, ['sign', 'blob', src, '--role', 'update', '--format', 'cms', '-o', src + '.p7s'])
#   }
#   python () {
#       if d.getVar('HSMSIGN_MODE') in ('dev', 'release'):
#           hsmsign_task(d, 'do_deploy')
#           d.prependVarFlag('do_deploy', 'postfuncs', 'acme_sign ')
#   }
#
# Prepended, since sstate's own postfunc takes away what lies in DEPLOYDIR. The release gate knows FILE.p7s as FILE's signature.

HSMSIGN_CALL = "${@hsmsign_call(d)}"
HSMSIGN_CALL[doc] = "hsmsign with its global options, quoted for a shell. Made by the layer; in no hash."

def hsmsign_call(d):
    import shlex, hsmsign.command
    return shlex.join(hsmsign.command.call(
        {name: d.getVar(name) for name in hsmsign.settings.VARIABLES},
        d.getVar('STAGING_LIBDIR_NATIVE')))
hsmsign_call[vardepsexclude] = "STAGING_LIBDIR_NATIVE"

# Runs hsmsign. A failure ends the task with the tool's message and what it came from.
def hsmsign_run(d, arguments):
    import shlex, subprocess, hsmsign.command
    command = shlex.split(d.getVar('HSMSIGN_CALL')) + arguments
    bb.note('Running: %s' % shlex.join(command))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in done.stderr.splitlines():
        warning = hsmsign.command.warning(line)
        bb.warn('hsmsign: ' + warning) if warning else bb.note(line)
    for line in done.stdout.splitlines():
        bb.note(line)
    if done.returncode != 0:
        bb.fatal(hsmsign.command.failure(d.getVar('HSMSIGN_MODE'), arguments, done.returncode, done.stderr))
    return done.stdout

# The same for a shell function. Tasks of one recipe may run it at the same time, so each has a file of its own.
hsmsign_shell() {
	hsmsign_code=0
	${HSMSIGN_CALL} "$@" 2> ${T}/hsmsign-messages.$$ || hsmsign_code=$?
	hsmsign_messages=`cat ${T}/hsmsign-messages.$$`
	rm -f ${T}/hsmsign-messages.$$
	if [ $hsmsign_code -ne 0 ]; then
		hsmsign_look=
		case $hsmsign_code in
		${@hsmsign_look_at(d)}
		esac
		bbfatal "hsmsign $1 $2 failed in mode ${HSMSIGN_MODE} (exit code $hsmsign_code):\n$hsmsign_messages$hsmsign_look"
	fi
	printf '%s\n' "$hsmsign_messages" | while IFS= read -r hsmsign_line; do
		case "$hsmsign_line" in
		"") ;;
		"warning: "*) bbwarn "hsmsign: ${hsmsign_line#warning: }" ;;
		*) printf '%s\n' "$hsmsign_line" ;;
		esac
	done
}

def hsmsign_look_at(d):
    import hsmsign.command
    return hsmsign.command.look_at_cases(d.getVar('HSMSIGN_MODE'))

# Switches the signing by key files of oe-core or meta-swupdate off in a recipe of `hook`. Called by `:=`, so that it comes
# before their anonymous functions, and by setVar, which removes what overrides had set. Returns what loses.
def hsmsign_take_over(d, hook):
    import hsmsign.hooks
    if hook != 'swupdate':
        other = d.getVar('UBOOT_MKIMAGE_SIGN')
        if other and other != d.getVar('UBOOT_MKIMAGE'):
            bb.fatal(hsmsign.hooks.other_signer(d.getVar('PN'), hook, other))
    lost = hsmsign.hooks.overruled(hook, d.getVar)
    for name, value in hsmsign.hooks.FORCED[hook].items():
        d.setVar(name, value)
    return hsmsign.hooks.who_wins(d.getVar('PN'), d.getVar('HSMSIGN_MODE'), hook, lost) if lost else ''

# Again when all overrides are known, such as pn-RECIPE.
def hsmsign_enforce(d, hook):
    import hsmsign.hooks
    for name, value in hsmsign.hooks.FORCED[hook].items():
        if d.getVar(name) != value:
            d.setVar(name, value)

HSMSIGN_OVERRULED ?= ""
HSMSIGN_OVERRULED[vardepvalue] = ""
python hsmsign_say_who_wins() {
    if d.getVar('HSMSIGN_OVERRULED'):
        bb.warn(d.getVar('HSMSIGN_OVERRULED'))
}
hsmsign_say_who_wins[vardepsexclude] = "HSMSIGN_OVERRULED"

# Makes `task` one that signs: the tool is there, and whatever decides the signature is in its hash.
def hsmsign_task(d, task):
    import hsmsign.policy
    d.appendVarFlag(task, 'depends', ' hsmsign-native:do_populate_sysroot')
    if d.getVar('HSMSIGN_MODE') == 'dev' and not d.getVar('HSMSIGN_SOFTHSM'):
        d.appendVarFlag(task, 'depends', ' softhsm-native:do_populate_sysroot')
    d.appendVarFlag(task, 'vardeps', ' HSMSIGN_MODE HSMSIGN_KEY_IDENTITY')
    for path in hsmsign.policy.files(d.getVar('HSMSIGN_POLICY')):
        d.appendVarFlag(task, 'file-checksums', ' %s:True' % path)
    d.appendVarFlag(task, 'postfuncs', ' hsmsign_signed')
    if d.getVar('HSMSIGN_OVERRULED'):
        d.appendVarFlag(task, 'prefuncs', ' hsmsign_say_who_wins')
    if d.getVar('HSMSIGN_MODE') == 'release' and not d.getVar('HSMSIGN_AGENT'):
        # Without an agent each task opens the token itself: one after the other, as smart cards need it.
        d.appendVarFlag(task, 'lockfiles', ' ${TMPDIR}/hsmsign-token.lock')

# Chooses the signing classes of one recipe. hsmsign-hooks inherits it for every recipe.
#
# hsmsign-hooks defers this class, and it stands first in the queue. It defers once more, to come after what
# the recipe's own classes have deferred: kernel.bbclass inherits KERNEL_CLASSES that way, and with it kernel-fitimage.

def hsmsign_classes(d):
    import hsmsign.hooks
    return ' '.join(hsmsign.hooks.classes((d.getVar('HSMSIGN_HOOKS') or '').split(),
                                          lambda name: bb.data.inherits_class(name, d)))

inherit_defer ${@hsmsign_classes(d)}

################################################################################
#
# hsmsign-softhsm
#
################################################################################

# A name of its own, so that a softhsm2 package of Buildroot or of another
# external tree does not clash with it.
HSMSIGN_SOFTHSM_VERSION = 2.6.1
HSMSIGN_SOFTHSM_SOURCE = softhsm2_$(HSMSIGN_SOFTHSM_VERSION).orig.tar.gz
HSMSIGN_SOFTHSM_SITE = https://snapshot.debian.org/archive/debian/20250520T000000Z/pool/main/s/softhsm2
HSMSIGN_SOFTHSM_LICENSE = BSD-2-Clause
HSMSIGN_SOFTHSM_LICENSE_FILES = LICENSE
HOST_HSMSIGN_SOFTHSM_DEPENDENCIES = host-openssl host-pkgconf

# No p11-kit: the module must not register itself anywhere
HOST_HSMSIGN_SOFTHSM_CONF_OPTS = \
	--disable-gost \
	--with-crypto-backend=openssl \
	--with-openssl=$(HOST_DIR) \
	--without-migrate \
	--without-p11-kit

$(eval $(host-autotools-package))

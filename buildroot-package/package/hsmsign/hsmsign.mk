################################################################################
#
# hsmsign
#
################################################################################

# The archive is vendored before Buildroot sees it. Buildroot leaves a tree with
# VENDOR/ alone, so name and hash do not change with the format of Buildroot's
# own cargo archives (-cargo4, -cargo5, ...).
HSMSIGN_ARCHIVE = $(call qstrip,$(BR2_PACKAGE_HOST_HSMSIGN_ARCHIVE))
HSMSIGN_PACK = $(BR2_EXTERNAL_HSMSIGN_PATH)/package/hsmsign/pack-source.sh

ifneq ($(HSMSIGN_ARCHIVE),)
HSMSIGN_SOURCE = $(notdir $(HSMSIGN_ARCHIVE))
HSMSIGN_VERSION = $(patsubst hsmsign-%-vendored.tar.gz,%,$(HSMSIGN_SOURCE))
HSMSIGN_SITE = $(if $(findstring ://,$(HSMSIGN_ARCHIVE)),,file://)$(patsubst %/,%,$(dir $(HSMSIGN_ARCHIVE)))
else
# The version carries a digest of the checkout: other source, other build
# directory, so the tool is never older than the tree it came with.
ifeq ($(BR2_PACKAGE_HOST_HSMSIGN),y)
HSMSIGN_VERSION := $(shell $(HSMSIGN_PACK) --version)
else
HSMSIGN_VERSION = checkout
endif
HSMSIGN_SOURCE = hsmsign-$(HSMSIGN_VERSION)-vendored.tar.gz
HSMSIGN_SITE = file://$(DL_DIR)/hsmsign

# host-rustc, which brings cargo, is a download dependency of cargo packages
define HOST_HSMSIGN_PACK_CHECKOUT
	mkdir -p $(DL_DIR)/hsmsign
	PATH=$(BR_PATH) CARGO_HOME=$(BR_CARGO_HOME) \
		$(HSMSIGN_PACK) -o $(DL_DIR)/hsmsign/$(HSMSIGN_SOURCE) $(HSMSIGN_VERSION)
endef
HOST_HSMSIGN_PRE_DOWNLOAD_HOOKS += HOST_HSMSIGN_PACK_CHECKOUT
endif

HSMSIGN_SUBDIR = signer
# Ours, then those of the crates (tests compare this with Cargo.lock)
HSMSIGN_LICENSE = \
	MIT or Apache-2.0 (hsmsign), \
	MIT (crates), \
	Apache-2.0 (crates), \
	Apache-2.0 with LLVM-exception (crates), \
	ISC (crates), \
	Unicode-3.0 (crates), \
	Zlib (crates), \
	bzip2-1.0.6 (crates), \
	BSL-1.0 (crates)
HSMSIGN_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE
HOST_HSMSIGN_DEPENDENCIES = host-openssl host-pkgconf
# The infrastructure of host packages reads no variable without HOST_
HOST_HSMSIGN_CARGO_ENV = OPENSSL_NO_VENDOR=1

# The crates' licence texts, gathered by pack-source.sh, and which crate has which
define HOST_HSMSIGN_CRATE_LICENSES
	mkdir -p $(LEGAL_INFO_DIR)/host-licenses/hsmsign-$(HSMSIGN_VERSION)
	cp -a $(HOST_HSMSIGN_DIR)/LICENSES-crates \
		$(LEGAL_INFO_DIR)/host-licenses/hsmsign-$(HSMSIGN_VERSION)/
endef
HOST_HSMSIGN_POST_LEGAL_INFO_HOOKS += HOST_HSMSIGN_CRATE_LICENSES

$(eval $(host-cargo-package))

# The sum of what was packed here, for BR2_DOWNLOAD_FORCE_CHECK_HASHES
ifeq ($(HSMSIGN_ARCHIVE),)
HOST_HSMSIGN_HASH_FILES += $(DL_DIR)/hsmsign/$(HSMSIGN_SOURCE).hash
endif

include $(sort $(wildcard $(BR2_EXTERNAL_HSMSIGN_PATH)/package/*/*.mk))

################################################################################
#
# Signing
#
################################################################################

# Package hooks run only when their package is built again, so after a change of
# mode they would leave old signatures in place. A phony prerequisite of
# target-post-image runs on every "make", after all images are there and before
# the first post-image script (genimage) reads them.

# Below BUILD_DIR, so that "make clean" takes it along with the images
HSMSIGN_STATE_DIR = $(BUILD_DIR)/.hsmsign

ifeq ($(BR2_HSMSIGN_DEV),y)
HSMSIGN_MODE = dev
else ifeq ($(BR2_HSMSIGN_RELEASE),y)
HSMSIGN_MODE = release
else
HSMSIGN_MODE = off
endif

ifneq ($(HSMSIGN_MODE),off)

HSMSIGN_ROOTFS_IMAGES = \
	$(if $(BR2_HSMSIGN_ROOTFS_EXT2),rootfs.ext$(BR2_TARGET_ROOTFS_EXT2_GEN)) \
	$(if $(BR2_HSMSIGN_ROOTFS_SQUASHFS),rootfs.squashfs) \
	$(if $(BR2_HSMSIGN_ROOTFS_EROFS),rootfs.erofs)

HSMSIGN_FIT_ROOTFS = \
	$(if $(BR2_HSMSIGN_FIT_ROOTFS_EXT2),rootfs.ext$(BR2_TARGET_ROOTFS_EXT2_GEN)) \
	$(if $(BR2_HSMSIGN_FIT_ROOTFS_SQUASHFS),rootfs.squashfs) \
	$(if $(BR2_HSMSIGN_FIT_ROOTFS_EROFS),rootfs.erofs)

ifeq ($(BR2_HSMSIGN_FIT_AUTO),y)
HSMSIGN_FIT = auto
else ifeq ($(BR2_HSMSIGN_FIT_ITS),y)
HSMSIGN_FIT = its
else ifeq ($(BR2_HSMSIGN_FIT_FILE),y)
HSMSIGN_FIT = file
else
HSMSIGN_FIT = none
endif

# As the .dtb files are called in the images directory
HSMSIGN_FIT_DTBS = $(or $(call qstrip,$(BR2_HSMSIGN_FIT_DTBS)), \
	$(filter %.dtb,$(if $(BR2_LINUX_KERNEL_DTB_KEEP_DIRNAME),$(LINUX_DTBS),$(notdir $(LINUX_DTBS)))))

# Quotes a value for the shell: a path may hold anything but a quote
hsmsign-quote = '$(subst ','\'',$(call qstrip,$(1)))'

# Settings of sign-images.sh. The PIN is not among them, and never will be.
HSMSIGN_SETTINGS = \
	HSMSIGN_BR_TOOL=$(HOST_DIR)/bin/hsmsign \
	HSMSIGN_BR_MKIMAGE=$(HOST_DIR)/bin/mkimage \
	HSMSIGN_BR_SOFTHSM=$(if $(BR2_PACKAGE_HOST_HSMSIGN_SOFTHSM),$(HOST_DIR)/lib/softhsm/libsofthsm2.so) \
	HSMSIGN_BR_MODE=$(HSMSIGN_MODE) \
	HSMSIGN_BR_IMAGES=$(BINARIES_DIR) \
	HSMSIGN_BR_STATE=$(HSMSIGN_STATE_DIR) \
	HSMSIGN_BR_PRODUCT=$(call hsmsign-quote,$(BR2_TARGET_GENERIC_HOSTNAME)) \
	HSMSIGN_BR_POLICY=$(call hsmsign-quote,$(BR2_HSMSIGN_POLICY)) \
	HSMSIGN_BR_HOST_CONFIG=$(call hsmsign-quote,$(BR2_HSMSIGN_HOST_CONFIG)) \
	HSMSIGN_BR_AGENT=$(call hsmsign-quote,$(BR2_HSMSIGN_AGENT)) \
	HSMSIGN_BR_DEV_DIR=$(call hsmsign-quote,$(BR2_HSMSIGN_DEV_DIR)) \
	HSMSIGN_BR_ROOTFS=$(call hsmsign-quote,$(HSMSIGN_ROOTFS_IMAGES)) \
	HSMSIGN_BR_HASH_FILE=$(BR2_HSMSIGN_ROOTFS_HASH_FILE) \
	HSMSIGN_BR_FIT=$(HSMSIGN_FIT) \
	HSMSIGN_BR_FIT_NAME=$(call hsmsign-quote,$(BR2_HSMSIGN_FIT_NAME)) \
	HSMSIGN_BR_FIT_ITS=$(call hsmsign-quote,$(BR2_HSMSIGN_FIT_ITS_FILE)) \
	HSMSIGN_BR_FIT_ARCH=$(call hsmsign-quote,$(if $(BR2_x86_64),x86_64,$(KERNEL_ARCH))) \
	HSMSIGN_BR_FIT_KERNEL=$(call hsmsign-quote,$(notdir $(LINUX_IMAGE_NAME))) \
	HSMSIGN_BR_FIT_LOAD=$(call hsmsign-quote,$(BR2_HSMSIGN_FIT_LOAD)) \
	HSMSIGN_BR_FIT_ENTRY=$(call hsmsign-quote,$(BR2_HSMSIGN_FIT_ENTRY)) \
	HSMSIGN_BR_FIT_DTBS=$(call hsmsign-quote,$(HSMSIGN_FIT_DTBS)) \
	HSMSIGN_BR_FIT_INITRAMFS=$(call hsmsign-quote,$(BR2_HSMSIGN_FIT_INITRAMFS)) \
	HSMSIGN_BR_FIT_ROOTFS=$(call hsmsign-quote,$(HSMSIGN_FIT_ROOTFS)) \
	HSMSIGN_BR_FIT_UPDATE_CERTIFICATE=$(BR2_HSMSIGN_FIT_UPDATE_CERTIFICATE) \
	HSMSIGN_BR_UBOOT=$(BR2_HSMSIGN_UBOOT) \
	HSMSIGN_BR_UBOOT_DIR=$(UBOOT_DIR) \
	HSMSIGN_BR_UBOOT_BINS=$(call hsmsign-quote,$(BR2_HSMSIGN_UBOOT_BINS)) \
	HSMSIGN_BR_UBOOT_DTBS=$(call hsmsign-quote,$(BR2_HSMSIGN_UBOOT_DTBS)) \
	HSMSIGN_BR_UBOOT_FIT=$(BR2_HSMSIGN_UBOOT_FIT) \
	HSMSIGN_BR_UBOOT_FIT_NAME=$(call hsmsign-quote,$(BR2_HSMSIGN_UBOOT_FIT_NAME)) \
	HSMSIGN_BR_UBOOT_FIT_ITS=$(call hsmsign-quote,$(BR2_HSMSIGN_UBOOT_FIT_ITS_FILE)) \
	HSMSIGN_BR_SPL=$(call hsmsign-quote,$(BR2_HSMSIGN_SPL)) \
	HSMSIGN_BR_SWU=$(BR2_HSMSIGN_SWU) \
	HSMSIGN_BR_SWU_NAME=$(call hsmsign-quote,$(BR2_HSMSIGN_SWU_NAME)) \
	HSMSIGN_BR_SWU_DESCRIPTION=$(call hsmsign-quote,$(BR2_HSMSIGN_SWU_DESCRIPTION)) \
	HSMSIGN_BR_SWU_IMAGES=$(call hsmsign-quote,$(BR2_HSMSIGN_SWU_IMAGES))

.PHONY: hsmsign-sign
hsmsign-sign: $(TARGETS_ROOTFS) target-finalize staging-finalize
	@$(call MESSAGE,"Signing images (hsmsign mode $(HSMSIGN_MODE))")
	$(Q)$(HSMSIGN_SETTINGS) $(BR2_EXTERNAL_HSMSIGN_PATH)/support/sign-images.sh sign

target-post-image: hsmsign-sign

ifeq ($(BR2_HSMSIGN_GATE),y)
# After the post-image scripts, so that it sees what ships
.PHONY: hsmsign-gate
hsmsign-gate: target-post-image
	@$(call MESSAGE,"Release gate")
	$(Q)$(HSMSIGN_SETTINGS) $(BR2_EXTERNAL_HSMSIGN_PATH)/support/sign-images.sh gate

world: hsmsign-gate
endif

else ifneq ($(wildcard $(HSMSIGN_STATE_DIR)),)

# Switched off after a signed build: put back what that build changed
.PHONY: hsmsign-restore
hsmsign-restore: $(TARGETS_ROOTFS) target-finalize staging-finalize
	@$(call MESSAGE,"Putting back unsigned images (hsmsign is off)")
	$(Q)HSMSIGN_BR_IMAGES=$(BINARIES_DIR) HSMSIGN_BR_STATE=$(HSMSIGN_STATE_DIR) \
		$(BR2_EXTERNAL_HSMSIGN_PATH)/support/sign-images.sh restore

target-post-image: hsmsign-restore

endif

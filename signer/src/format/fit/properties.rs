//! Names of FIT properties.

pub(super) const ALGO: &str = "algo";
pub(super) const COMPRESSION: &str = "compression";
pub(super) const DATA: &str = "data";
pub(super) const DATA_OFFSET: &str = "data-offset";
pub(super) const DATA_POSITION: &str = "data-position";
pub(super) const DATA_SIZE: &str = "data-size";
pub(super) const DEFAULT: &str = "default";
pub(super) const FDT: &str = "fdt";
pub(super) const HASHED_NODES: &str = "hashed-nodes";
pub(super) const HASHED_STRINGS: &str = "hashed-strings";
pub(super) const KEY_NAME_HINT: &str = "key-name-hint";
pub(super) const PADDING: &str = "padding";
pub(super) const SIGNER_NAME: &str = "signer-name";
pub(super) const SIGNER_VERSION: &str = "signer-version";
pub(super) const SIGN_IMAGES: &str = "sign-images";
pub(super) const TIMESTAMP: &str = "timestamp";
pub(super) const UBOOT_IGNORE: &str = "uboot-ignore";
pub(super) const VALUE: &str = "value";

/// Configuration properties that hold images by the specification; others may, and are covered too.
pub(super) const IMAGE_REFERENCES: [&str; 8] =
    ["kernel", "fdt", "ramdisk", "loadables", "firmware", "script", "fpga", "standalone"];
/// Configuration properties that U-Boot never takes for image names.
pub(super) const NO_IMAGE_REFERENCES: [&str; 3] = ["description", "compatible", "default"];
/// Properties that no signature covers, in any node: where data is, and data.
pub(super) const UNSIGNED: [&str; 4] = [DATA, DATA_SIZE, DATA_POSITION, DATA_OFFSET];

//! Device-mapper tables and kernel command lines for a hash tree.

use super::Tree;
use crate::crypto::Digest;

/// What a `dm-mod.create=` argument leaves unprotected, for people.
pub(super) const DM_MOD_CREATE_DOES_NOT_COVER: [&str; 3] = [
    "the root hash's signature: the kernel looks for it in a user keyring (`root_hash_sig_key_desc`), which \
     nothing has filled when the command line is read; a kernel with `dm_verity.require_signatures=1` refuses \
     the device",
    "the command line itself: whoever can change it chooses the root hash, so it must come from a signed FIT \
     or be built into the kernel",
    "when the devices appear: slow ones need `dm-mod.waitfor=` (Linux 6.2) or an initramfs",
];

/// A device-mapper table with `DATA_DEVICE` and `HASH_DEVICE` to be replaced.
///
/// `signature_key` names the user key that holds the root hash's signature (`root_hash_sig_key_desc`).
///
/// Source: Linux `Documentation/admin-guide/device-mapper/verity.rst`, section "Construction Parameters".
#[must_use]
pub fn dm_table(tree: &Tree, root_hash: &Digest, signature_key: Option<&str>) -> String {
    let p = &tree.parameters;
    let sectors = tree.data_len_bytes() / 512;
    let salt = if p.salt.is_empty() { "-".to_owned() } else { hex::encode(&p.salt) };
    let mut table = format!(
        "0 {sectors} verity 1 DATA_DEVICE HASH_DEVICE {} {} {} {} {} {} {salt}",
        p.data_block_size,
        p.hash_block_size,
        tree.data_blocks,
        tree.hash_start_block,
        p.hash,
        root_hash.to_hex(),
    );
    if let Some(key) = signature_key {
        table.push_str(&format!(" 2 root_hash_sig_key_desc {key}"));
    }
    table
}

/// A kernel command line argument that opens the device as `/dev/mapper/rootfs` without an initramfs.
///
/// Source: Linux `Documentation/admin-guide/device-mapper/dm-init.rst`.
#[must_use]
pub fn dm_mod_create(tree: &Tree, root_hash: &Digest) -> String {
    format!("dm-mod.create=\"rootfs,,,ro,{}\"", dm_table(tree, root_hash, None))
}

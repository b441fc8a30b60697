//! Whether two device trees say the same but for the trust anchors of hsmsign.

use crate::format::fdt::{Fdt, FdtError, NodeId};
use std::collections::BTreeMap;

const MAX_VALUE_LEN_BYTES: usize = 16 << 20;

/// Whether `bare` is `signed` without `/firmware/hsmsign`, in the same order.
pub(super) fn equal_but_anchors(bare: &[u8], signed: &[u8]) -> bool {
    match (contents(bare), contents(signed)) {
        (Ok(bare), Ok(signed)) => bare == signed,
        _ => false,
    }
}

type Contents = BTreeMap<String, Vec<(String, Vec<u8>)>>;

/// Each node's properties by its path, without the anchors' node, and without `/firmware` if there is nothing else in it.
fn contents(tree: &[u8]) -> Result<Contents, FdtError> {
    let fdt = Fdt::parse(&tree)?;
    let mut all = Contents::new();
    for id in fdt.walk() {
        let path = fdt.path(id);
        if path == "/firmware/hsmsign" || path.starts_with("/firmware/hsmsign/") {
            continue;
        }
        if path == "/firmware" && is_ours_alone(&fdt, id) {
            continue;
        }
        let mut properties = Vec::new();
        for property in fdt.node(id).properties() {
            properties
                .push((property.name().to_owned(), fdt.value_bytes(property.value(), MAX_VALUE_LEN_BYTES)?));
        }
        all.insert(path, properties);
    }
    Ok(all)
}

fn is_ours_alone(fdt: &Fdt<'_>, firmware: NodeId) -> bool {
    let node = fdt.node(firmware);
    let others = fdt.children(firmware).any(|(_, child)| child.name() != "hsmsign");
    node.properties().is_empty() && !others
}

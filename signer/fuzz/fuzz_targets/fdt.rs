//! Flattened device trees: whatever is read can be edited, written and read again.

#![no_main]

use hsmsign::format::fdt::{Fdt, Tail};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut fdt) = Fdt::parse(&bytes) else { return };
    for id in fdt.walk() {
        let path = fdt.path(id);
        assert_eq!(fdt.find(&path), Some(id));
        for property in fdt.node(id).properties() {
            fdt.value_bytes(property.value(), bytes.len()).expect("values lie in the source");
        }
        let _ = (fdt.strings_of(id, "compatible"), fdt.u32(id, "phandle"));
    }
    let nodes = fdt.walk().len();
    let last = fdt.walk().last().copied().unwrap_or(Fdt::ROOT);
    fdt.set_u32(last, "hsmsign", 7).expect("a property can be set");
    let added = fdt.add_node(Fdt::ROOT, "hsmsign,added").is_ok();
    fdt.delete_property(Fdt::ROOT, "compatible");
    let edits = fdt.edits(Tail::Moves { alignment: 8 }).expect("small trees can grow");
    let new = edits.apply(&bytes, 64 << 20).expect("edits fit their source");
    let again = Fdt::parse(&new).expect("what was written is a tree again");
    assert_eq!(again.walk().len(), nodes + usize::from(added));
});

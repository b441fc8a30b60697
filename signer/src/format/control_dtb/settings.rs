//! What a control tree shows of the ways around verified boot.
//!
//! Source: U-Boot `doc/device-tree-bindings/config.txt`, `common/autoboot.c`, `common/board_r.c`,
//! `common/cli.c`.

use crate::format::fdt::{Fdt, NodeId};

/// Weaknesses that U-Boot's own settings in the tree leave open; one line each.
///
/// The tree shows only part: what is compiled in (`CONFIG_BOOTCOMMAND`, `CONFIG_ENV_IS_*`,
/// `CONFIG_CMDLINE`) it does not show, so an empty list is no proof of a closed bootloader.
#[must_use]
pub fn weaknesses(fdt: &Fdt<'_>) -> Vec<(String, String)> {
    let config = fdt.child(Fdt::ROOT, "config");
    let int = |name: &str| config.and_then(|id| fdt.u32(id, name).ok().flatten());
    let text = |name: &str| config.and_then(|id| fdt.string(id, name).ok().flatten());
    let mut found = Vec::new();
    let mut warn = |place: &str, what: String| found.push((place.to_owned(), what));

    if int("load-environment").unwrap_or(1) != 0 {
        let what = if config.is_some_and(|id| fdt.property(id, "bootcmd").is_some()) {
            "U-Boot loads its environment from storage unless it is built without one; `bootcmd` of this \
             tree stands, but variables that it uses can be overridden (set `load-environment = <0>`)"
        } else {
            "U-Boot loads its environment from storage unless it is built without one, and that can \
             override `bootcmd` (set `bootcmd` here, and `load-environment = <0>`)"
        };
        warn("/config/load-environment", what.into());
    }
    if int("bootsecure").unwrap_or(0) == 0 {
        match int("bootdelay").map(u32::cast_signed) {
            Some(-2) => {}
            Some(-1) => {
                warn("/config/bootdelay", "-1: U-Boot does not boot by itself but offers its prompt".into())
            }
            Some(delay) => {
                warn(
                    "/config/bootdelay",
                    format!("{delay}: a key on the console can stop autoboot (-2 forbids it)"),
                );
            }
            None => warn(
                "/config/bootdelay",
                "absent, so CONFIG_BOOTDELAY or the environment says whether a key on the console stops \
                 autoboot (-2 forbids it)"
                    .into(),
            ),
        }
    }
    for command in text("bootcmd").iter().flat_map(|text| unverified_commands(text)) {
        warn("/config/bootcmd", format!("`{command}` starts images that nobody verified"));
    }
    for place in environment_stores(fdt, config) {
        warn(
            &place,
            "says where U-Boot's environment is stored; who can write there can change how it boots".into(),
        );
    }
    found
}

/// Commands that run an image without looking at a FIT's signature.
fn unverified_commands(bootcmd: &str) -> Vec<&str> {
    const UNVERIFIED: [&str; 7] = ["booti", "bootz", "bootelf", "bootvx", "go", "bootefi", "source"];
    bootcmd
        .split([';', '&', '|', '\n'])
        .filter_map(|command| {
            command
                .split_whitespace()
                .find(|word| !["if", "then", "else", "do", "elif", "while"].contains(word))
        })
        .filter(|word| UNVERIFIED.contains(word))
        .collect()
}

fn environment_stores(fdt: &Fdt<'_>, config: Option<NodeId>) -> Vec<String> {
    const PLACES: [&str; 3] =
        ["u-boot,mmc-env-offset", "u-boot,mmc-env-offset-redundant", "u-boot,mmc-env-partition"];
    let in_config = config.into_iter().flat_map(|id| {
        PLACES
            .iter()
            .filter(move |name| fdt.property(id, name).is_some())
            .map(|name| format!("/config/{name}"))
    });
    let partitions = fdt.walk().into_iter().filter(|id| {
        let compatible = fdt.strings_of(*id, "compatible").ok().flatten().unwrap_or_default();
        compatible.iter().any(|c| c.starts_with("u-boot,env"))
    });
    in_config.chain(partitions.map(|id| fdt.path(id))).collect()
}

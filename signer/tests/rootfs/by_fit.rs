//! What the root hash does not cover, and the signed FIT does: how many blocks there are.

use super::*;

/// A FIT with one device tree, signed with what `rootfs` says; `None` without dtc.
fn fit(bench: &Bench, rootfs: &str) -> Option<()> {
    let dtc = find_tool("dtc")?;
    bench.write("board.dts", "/dts-v1/; / { model = \"board\"; };");
    bench.tool(&dtc, &["-q", "-O", "dtb", "-o", "board.dtb", "board.dts"]);
    bench.write("kernel", vec![7; 5000]);
    bench.write(
        "fit.its",
        "/dts-v1/; / { timestamp = <1>; description = \"x\"; images {
            kernel-1 { data = /incbin/(\"kernel\"); type = \"kernel\"; hash-1 { algo = \"sha256\"; }; };
            fdt-1 { data = /incbin/(\"board.dtb\"); type = \"flat_dt\"; hash-1 { algo = \"sha256\"; }; }; };
          configurations { default = \"conf-1\"; conf-1 { kernel = \"kernel-1\"; fdt = \"fdt-1\"; }; }; };",
    );
    bench.tool(&dtc, &["-q", "-I", "dts", "-O", "dtb", "-o", "fit.itb", "fit.its"]);
    bench.hsmsign(&["sign", "fit", "fit.itb", "-o", "fit.signed", "--rootfs", rootfs]).exits(0);
    Some(())
}

/// `lifted`: the lowest level of `out`'s hash tree as the data, under the same root hash and signature.
fn lift_a_level(bench: &Bench) {
    let out = bench.read("out");
    let superblock = BLOCKS * BLOCK;
    let digests = BLOCKS.div_ceil(BLOCK / 32);
    let (top, lowest) = (superblock + BLOCK, superblock + 2 * BLOCK);
    let mut header = out[superblock..top].to_vec();
    // The number of data blocks (cryptsetup, lib/verity/verity.c, struct verity_sb).
    header[72..80].copy_from_slice(&u64::try_from(digests).unwrap().to_le_bytes());
    let data = &out[lowest..lowest + digests * BLOCK];
    bench.write("lifted", [data, &header, &out[top..lowest]].concat());
    for suffix in ["roothash", "roothash.p7s"] {
        bench.write(&format!("lifted.{suffix}"), bench.read(&format!("out.{suffix}")));
    }
}

#[test]
fn a_level_of_the_tree_in_the_datas_place_is_seen_by_the_fit() {
    let bench = signed(&[]);
    let Some(()) = fit(&bench, "out.verity.json") else { return };
    lift_a_level(&bench);
    if let Some(veritysetup) = find_tool("veritysetup") {
        let offset = format!("--hash-offset={}", 5 * BLOCK);
        let arguments = ["verify", &offset, "lifted", "lifted", &root_hash(&bench, "out")];
        bench.tool(&veritysetup, &arguments);
    }
    // The root hash is the same, and its signature good: alone they cannot tell.
    verify(&bench, &["lifted"]).exits(0);
    verify(&bench, &["out", "--fit", "fit.signed"]).exits(0).says("names this root hash");
    verify(&bench, &["lifted", "--fit", "fit.signed"])
        .exits(7)
        .says("its `data-blocks` is `600`, the image's is `5`");
}

#[test]
fn the_fit_must_be_good_and_name_this_image() {
    let bench = signed(&[]);
    let Some(()) = fit(&bench, "out.verity.json") else { return };
    bench.write("fit.bad", {
        let mut bytes = bench.read("fit.signed");
        let place = bytes.windows(8).position(|w| w == [7; 8]).unwrap();
        bytes[place] = 8;
        bytes
    });
    verify(&bench, &["out", "--fit", "fit.bad"]).exits(7).says("sha256 does not match the data");
    verify(&bench, &["out", "--fit", "fit.itb"]).exits(7).says("is not signed");
    verify(&bench, &["out", "--fit", "out"]).exits(6);
    bench.hsmsign(&["sign", "fit", "fit.itb", "-o", "fit.plain"]).exits(0);
    verify(&bench, &["out", "--fit", "fit.plain"]).exits(7).says("names no root filesystem");

    sign(&bench, "image", "salted", &["--salt", "00"]).exits(0);
    verify(&bench, &["salted", "--fit", "fit.signed"]).exits(7).says("its `root-hash` is");
    sign(&bench, "image", "hashes", &["--hash-file"]).exits(0);
    let separate = ["image", "--hash-file", "hashes", "--fit", "fit.signed"];
    verify(&bench, &separate).exits(7).says("its `placement` is `appended`, the image's is `separate`");

    // Whose FIT it is matters as well.
    let Some(_) = stranger(&bench) else { return };
    bench.hsmsign(&["keys", "certificate", "--role", "rootfs", "-o", "rootfs.pem"]).exits(0);
    let trust = |fit: &str| {
        let arguments = ["out", "--fit", "fit.signed", "--trust", "rootfs=rootfs.pem", "--trust", fit];
        verify(&bench, &arguments)
    };
    trust("fit=stranger.pem").exits(7).says("is not by a trusted key");
    trust("dev").exits(0);
}

//! One leak in everything that can hold it.

use super::{
    common::{Bench, find_tool},
    scan, shell, short,
};

/// A tree with a private key at `etc/ssl/key.pem`, among other files.
fn planted() -> Bench {
    let bench = Bench::new();
    shell(
        &bench,
        "mkdir -p tree/etc/ssl tree/bin d; openssl genpkey -algorithm RSA -out tree/etc/ssl/key.pem 2> /dev/null; \
                   openssl pkey -in tree/etc/ssl/key.pem -pubout -out tree/etc/ssl/public.pem; cp /bin/ls tree/bin; \
                   head -c 200000 /dev/urandom > tree/noise",
    );
    bench
}

#[track_caller]
fn finds(tools: &[&str], line: &str, location: &str) {
    if tools.iter().any(|tool| find_tool(tool).is_none()) {
        return;
    }
    let bench = planted();
    shell(&bench, line);
    let found = scan(&bench, "d");
    assert_eq!(short(&found), [(location, "private-key")], "{line}: {found:?}");
}

#[test]
fn a_tree() {
    finds(&[], "cp -a tree d/rootfs", "rootfs/etc/ssl/key.pem");
}

#[test]
fn archives() {
    for (tool, flag) in [("gzip", "z"), ("xz", "J"), ("bzip2", "j")] {
        finds(&[tool], &format!("tar -c{flag}f d/x -C tree ."), "x!/etc/ssl/key.pem");
    }
    finds(&["zstd"], "tar -cf- -C tree . | zstd -q > d/x", "x!/etc/ssl/key.pem");
    finds(&["zip"], "cd tree; zip -qr ../d/x.zip .", "x.zip!/etc/ssl/key.pem");
    finds(
        &["cpio"],
        "cd tree; find . | cpio -o --quiet -H newc | gzip > ../d/initramfs",
        "initramfs!/etc/ssl/key.pem",
    );
}

#[test]
fn file_systems() {
    finds(&["mke2fs"], "mke2fs -q -F -t ext4 -d tree d/rootfs 8M", "rootfs!/etc/ssl/key.pem");
    for compression in ["gzip", "xz", "zstd"] {
        let line = format!("mksquashfs tree d/rootfs -comp {compression} -quiet -no-progress > /dev/null");
        finds(&["mksquashfs"], &line, "rootfs!/etc/ssl/key.pem");
    }
}

#[test]
fn a_bundle_with_a_compressed_root_file_system() {
    let line = "mke2fs -q -F -t ext4 -d tree rootfs.ext4 8M; zstd -q rootfs.ext4; echo x > sw-description; \
                printf 'sw-description\nrootfs.ext4.zst\n' | cpio -o --quiet -H crc > d/update.swu";
    finds(&["mke2fs", "zstd", "cpio"], line, "update.swu!/rootfs.ext4.zst!/etc/ssl/key.pem");
}

#[test]
fn an_archive_of_sources_as_it_is_published() {
    let line = "tar -czf inner.tar.gz -C tree .; tar -cJf d/sources.tar.xz inner.tar.gz";
    finds(&["xz"], line, "sources.tar.xz!/inner.tar.gz!/etc/ssl/key.pem");
}

#[test]
fn a_damaged_archive_is_a_finding() {
    let bench = planted();
    shell(&bench, "tar -czf x -C tree .; head -c 150000 x > d/x");
    let found = scan(&bench, "d");
    assert!(found.iter().any(|f| f.kind == "not-looked-into" && f.detail.contains("gzip file")), "{found:?}");
}

#[test]
fn what_cannot_be_read_is_a_finding() {
    let bench = planted();
    shell(&bench, "printf '7z\\xbc\\xaf\\x27\\x1crest' > d/x.7z");
    assert_eq!(short(&scan(&bench, "d")), [("x.7z", "not-looked-into")]);
    bench.hsmsign(&["scan", "nowhere"]).exits(8);
}

#[test]
fn links_are_not_followed_and_pipes_do_not_block() {
    let bench = planted();
    shell(&bench, "ln -s ../tree/etc/ssl/key.pem d/link; ln -s .. d/loop; mkfifo d/pipe");
    assert_eq!(scan(&bench, "d"), []);
    assert_eq!(short(&scan(&bench, "d/link")), [("link", "private-key")]);
}

#[test]
fn names_cannot_steer_a_terminal() {
    let bench = planted();
    shell(&bench, "mkdir 'd/\u{1b}[31m'; cp tree/etc/ssl/key.pem 'd/\u{1b}[31m/a\nb'");
    let outcome = bench.hsmsign(&["scan", "d"]).exits(7);
    assert!(!outcome.stdout.contains('\u{1b}') && !outcome.stderr.contains('\u{1b}'), "{outcome:?}");
    assert_eq!(outcome.stdout.lines().count(), 1);
}

//! Trust anchors that a device would find inside what it gets: they must not be development or example keys.

use crate::fixture::Deploy;

/// Rebuilds the artifacts of which inputs changed.
const EXT4: &str = "cd build; rm rootfs.ext4; mke2fs -q -t ext4 -b 4096 -d root -U 7b4c1f5e-0000-4000-8000-000000000001 rootfs.ext4 2M";
const SQUASHFS: &str =
    "cd build; mksquashfs root data.squashfs -quiet -no-progress -all-root -noappend -comp gzip >/dev/null";
const FIT: &str = "cd build; gzip -9nkf Image; mkimage -f fit.its fit.itb >/dev/null";

#[track_caller]
fn refused(change: &str, artifact: &str, place: &str, says: &str) {
    let Some(deploy) = Deploy::release_of(change) else { return };
    let outcome = deploy.gate(&[]).exits(7).says(says).says(place);
    let line = outcome.stdout.lines().find(|l| l.starts_with("FAIL") && l.contains(artifact));
    assert!(line.is_some_and(|l| l.contains(says)), "{}", outcome.stdout);
}

#[test]
fn a_dev_certificate_in_any_file_of_a_file_system_is_refused() {
    let at = |place: &str| {
        format!("mkdir -p build/root/{place}; cp dev-update.pem build/root/{place}/public.pem; {EXT4}")
    };
    refused(&at("etc/swupdate"), "rootfs.ext4.verity", "/etc/swupdate/public.pem", "development key");
    let der = format!(
        "mkdir -p build/root/usr/share/keys; openssl x509 -in dev-update.pem -outform der -out build/root/usr/share/keys/key.der; {EXT4}"
    );
    refused(&der, "rootfs.ext4.verity", "/usr/share/keys/key.der", "development key");
    // Within a program, behind the first MiB.
    let within = format!(
        "openssl x509 -in dev-update.pem -outform der -out der; (head -c 1048570 /dev/zero; cat der; echo end) > build/root/usr/bin/tool; {EXT4}"
    );
    refused(&within, "rootfs.ext4.verity", "/usr/bin/tool", "development key");
}

#[test]
fn a_dev_certificate_in_a_squashfs_is_refused() {
    let change = format!("cp dev-rootfs.pem build/root/etc/rootfs.pem; {SQUASHFS}");
    refused(&change, "data.squashfs", "/etc/rootfs.pem", "development key");
}

#[test]
fn a_dev_certificate_in_an_initramfs_or_a_kernel_is_refused() {
    let initramfs = format!(
        "cd build; cp ../dev-update.pem .; printf '%s\\n' init dev-update.pem | cpio -o -H newc --quiet | gzip -9n > initramfs.cpio.gz; cd ..; {FIT}"
    );
    refused(&initramfs, "fit.itb", "dev-update.pem", "development key");
    // As CONFIG_SYSTEM_TRUSTED_KEYS puts it there.
    let kernel = format!(
        "openssl x509 -in dev-rootfs.pem -outform der | dd of=build/Image bs=1 seek=100000 conv=notrunc status=none; {FIT}"
    );
    refused(&kernel, "fit.itb", "kernel-1", "development key");
}

#[test]
fn a_public_example_key_is_refused_wherever_it_stands() {
    let make = "openssl genrsa -out example.key 2048 2>/dev/null; openssl rsa -in example.key -pubout -out example.pem 2>/dev/null; \
                echo \"sha256:$(openssl rsa -in example.key -pubout -outform der 2>/dev/null | sha256sum | cut -d' ' -f1) published somewhere\" > examples.tsv";
    let change = format!(
        "{make}; mkdir -p build/root/etc/swupdate; cp example.pem build/root/etc/swupdate/key.pem; {EXT4}"
    );
    let Some(deploy) = Deploy::release_of(&change) else { return };
    // Known to nobody, it is one of many keys that a file system may hold.
    deploy.gate(&[]).exits(0);
    let mut host = String::from_utf8(deploy.bench.read("host.yaml")).unwrap();
    host.push_str(&format!("blocklists: [{}]\n", deploy.bench.path("examples.tsv").display()));
    deploy.bench.write("host.yaml", host);
    deploy.gate(&["--host-config", "host.yaml"]).exits(7).says("example key").says("published somewhere");
}

#[test]
fn in_dev_they_are_told() {
    let Some(deploy) = Deploy::dev() else { return };
    deploy.sh(&format!("mkdir -p build/root/etc/swupdate; cp deploy/update.pem build/root/etc/swupdate/public.pem; {EXT4}; cd ..; cp build/rootfs.ext4 deploy/"));
    let sign = ["sign", "rootfs", "build/rootfs.ext4", "-o", "deploy/rootfs.ext4.verity"];
    deploy.bench.hsmsign(&sign).exits(0);
    let outcome = deploy.gate(&[]);
    let told = outcome
        .stdout
        .lines()
        .any(|l| l.contains("/etc/swupdate/public.pem") && l.contains("a development key"));
    assert!(told, "{}", outcome.stdout);
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let Some(deploy) = Deploy::dev() else { return };
    // erofs is known by its magic alone, and hsmsign does not read it.
    let mut erofs = vec![0; 8192];
    erofs[1024..1028].copy_from_slice(&[0xe2, 0xe1, 0xf5, 0xe0]);
    deploy.bench.write("build/app.erofs", erofs);
    deploy.bench.hsmsign(&["sign", "rootfs", "build/app.erofs", "-o", "deploy/app.erofs.verity"]).exits(0);
    deploy.refuses("cannot be searched for trust anchors");
    deploy.policy(
        "gate:\n  allow:\n    - { path: app.erofs.verity, reason: holds programs alone and no keys }\n",
    );
    deploy.gate(&[]).exits(0).says("holds programs alone");
}

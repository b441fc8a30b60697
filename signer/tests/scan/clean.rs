//! No false alarm on what every root file system has.

use super::{
    common::{Bench, find_tool},
    scan, shell, short,
};
use std::path::Path;

#[test]
fn public_keys_certificates_and_talk_of_keys() {
    let bench = Bench::new();
    shell(
        &bench,
        "mkdir d; openssl req -x509 -newkey rsa:2048 -nodes -keyout k -subj /CN=x -out d/c.pem 2> /dev/null; \
                   openssl x509 -in d/c.pem -outform der -out d/c.der; openssl pkey -in k -pubout -out d/p.pem; \
                   openssl pkey -in k -pubout -outform der -out d/p.der; openssl req -new -key k -subj /CN=x -out d/r.pem; \
                   openssl dhparam -dsaparam -out d/dh.pem 512 2> /dev/null; openssl ecparam -name prime256v1 -out d/ec.pem; \
                   openssl crl2pkcs7 -nocrl -certfile d/c.pem -out d/p7.pem; \
                   echo data | openssl cms -sign -signer d/c.pem -inkey k -binary -outform der -out d/cms; \
                   echo data | openssl cms -encrypt -aes256 -outform der -out d/enveloped d/c.pem; \
                   ssh-keygen -q -t rsa -N '' -f s; mv s.pub d",
    );
    bench.write(
        "d/manual.txt",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\nput your PRIVATE KEY there\n",
    );
    bench.write("d/sums", "d41d8cd98f00b204e9800998ecf8427e  a\nd41d8cd98f00b204e9800998ecf8427e  b\n");
    assert_eq!(scan(&bench, "d"), []);
}

/// What this machine's packages installed: certificates, libraries with every object identifier there is, the
/// programs of OpenSSL, OpenSSH, SoftHSM and opensc, whose texts speak of nothing but keys and PINs.
#[test]
fn this_machine_s_crypto_packages() {
    let bench = Bench::new();
    let mut places = vec!["/etc/ssl/certs", "/usr/share/ca-certificates", "/etc/ssl/openssl.cnf"];
    places.extend([
        "/usr/bin/openssl",
        "/usr/bin/ssh-keygen",
        "/usr/bin/pkcs11-tool",
        "/usr/bin/softhsm2-util",
    ]);
    places.extend(["/usr/lib/x86_64-linux-gnu/libcrypto.so.3", "/usr/lib/x86_64-linux-gnu/libgnutls.so.30"]);
    places.extend([
        "/usr/share/doc/opensc",
        "/usr/share/doc/softhsm2",
        "/usr/share/doc/openssl",
        "/etc/opensc",
    ]);
    let mut looked = 0;
    for place in places.into_iter().filter(|place| Path::new(place).exists()) {
        assert_eq!(scan(&bench, place), [], "{place}");
        looked += 1;
    }
    assert!(looked >= 4, "hardly anything of this is installed here");
}

#[test]
fn the_test_images_root_file_systems() {
    let Some(images) = std::env::var_os("HSMSIGN_TEST_IMAGES") else {
        return super::common::skip("HSMSIGN_TEST_IMAGES names no test images");
    };
    let bench = Bench::new();
    for image in
        ["rootfs.ext4", "rootfs.squashfs", "initramfs.cpio.gz", "fit.itb", "fit-external.itb", "u-boot.bin"]
    {
        let place = Path::new(&images).join(image);
        assert_eq!(scan(&bench, place.to_str().unwrap()), [], "{image}");
    }
}

#[test]
fn a_key_in_a_debian_root_file_system_is_all_that_is_found() {
    if find_tool("mksquashfs").is_none() {
        return;
    }
    let bench = Bench::new();
    // Whole packages, since a machine may have documentation with keys in it.
    let line = "mkdir -p r/etc r/bin d; cp -aL /etc/ssl/certs /usr/share/ca-certificates r/etc 2> /dev/null || true; \
                cp -aL /bin/bash /usr/bin/openssl r/bin; dpkg -L openssl opensc softhsm2 libc6 2> /dev/null | \
                while read -r f; do [ ! -f \"$f\" ] || cp --parents \"$f\" r; done; \
                openssl genpkey -algorithm ED25519 -out r/etc/update.pem; \
                mksquashfs r d/rootfs -quiet -no-progress > /dev/null";
    shell(&bench, line);
    assert_eq!(short(&scan(&bench, "d")), [("rootfs!/etc/update.pem", "private-key")]);
}

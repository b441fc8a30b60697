//! What is refused: tampered, mixed, costly, and what cannot be signed.

use super::*;
use crate::format::fdt::testing::empty;

#[test]
fn an_image_that_no_configuration_names_fails() {
    let fit = edited(&unsigned(Kind::Embedded), |fdt| {
        let images = node(fdt, "/images");
        let extra = fdt.add_node(images, "extra").unwrap();
        fdt.set(extra, "data", vec![1, 2, 3]).unwrap();
    });
    let (signed, notes) = sign_with(&fit, &KEY, None).unwrap();
    assert!(notes[0].contains("/images/extra"));
    assert!(refuses(&signed, &KEY).contains("no good signature covers this image"));
}

#[test]
fn tampering_is_refused() {
    let signed = sign(&unsigned(Kind::Embedded), &KEY);
    let conf = "/configurations/conf-1";
    let signature = "/configurations/conf-1/signature-1";
    type Change = Box<dyn Fn(&mut Fdt<'_>)>;
    let set = |path: &'static str, name: &'static str, value: &'static [u8]| -> Change {
        Box::new(move |fdt| fdt.set(node(fdt, path), name, value).unwrap())
    };
    let changes: Vec<(&str, Change)> = vec![
        ("does not match", set("/images/kernel-1", "data", b"evil")),
        ("does not match", set("/images/ramdisk-1/hash-1", "value", &[0; 32])),
        ("was changed", set("/images/kernel-1", "timestamp", &[0; 4])),
        ("was changed", set(conf, "kernel", b"kernel-2\0")),
        ("was changed", set(conf, "algo", b"kernel-2\0")),
        ("not there", set(conf, "loadables", b"nothing\0")),
        ("no list of strings", set(conf, "loadables", b"kernel-1")),
        ("was changed", set("/", "description", b"other\0")),
        ("was changed", set(signature, "value", &[1; 256])),
        ("is not signed", set(signature, "value", b"")),
        ("`hashed-nodes`", set(signature, "hashed-nodes", b"/\0/configurations/conf-1\0")),
        ("`hashed-strings`", set(signature, "hashed-strings", &[0; 8])),
        ("beyond the strings", set(signature, "hashed-strings", &[0, 0, 0, 0, 0, 1, 0, 0])),
        ("was changed", set(signature, "padding", b"pss\0")),
        ("unknown padding", set(signature, "padding", b"none\0")),
        ("unknown or broken", set(signature, "algo", b"sha1,rsa2048\0")),
        ("no trusted key is of type rsa4096", set(signature, "algo", b"sha256,rsa4096\0")),
        ("no trusted key is of type ecdsa256", set(signature, "algo", b"sha256,ecdsa256\0")),
        ("was changed", set(signature, "algo", b"sha512,rsa2048\0")),
        ("`default` names", set("/configurations", "default", b"conf-9\0")),
        ("is not signed", Box::new(move |fdt| fdt.delete_node(node(fdt, signature)))),
        ("no `hashed-strings`", {
            Box::new(move |fdt| assert!(fdt.delete_property(node(fdt, signature), "hashed-strings")))
        }),
        ("no hash that protects", {
            Box::new(move |fdt| fdt.delete_node(node(fdt, "/images/kernel-1/hash-1")))
        }),
        ("`@` in its name", {
            Box::new(move |fdt| {
                fdt.add_node(node(fdt, "/images"), "kernel-1@1").unwrap();
            })
        }),
        ("`@` in its name", {
            Box::new(move |fdt| {
                fdt.add_node(Fdt::ROOT, "images@1").unwrap();
            })
        }),
        ("was changed", {
            Box::new(move |fdt| {
                fdt.add_node(Fdt::ROOT, "more").unwrap();
            })
        }),
        ("both `data` and `data-offset`", set("/images/kernel-1", "data-offset", &[0; 4])),
        ("no configuration", {
            Box::new(move |fdt| {
                fdt.delete_node(node(fdt, conf));
                fdt.delete_node(node(fdt, "/configurations/conf-2"));
            })
        }),
    ];
    for (expected, change) in changes {
        let bad = edited(&signed, change);
        let found = refuses(&bad, &KEY);
        assert!(found.contains(expected), "{found} instead of {expected}");
    }
    let mixed = edited(&signed, |fdt| {
        for name in ["value", "hashed-nodes", "hashed-strings"] {
            let other = node(fdt, "/configurations/conf-2/signature-1");
            let value = fdt.bytes(other, name, 4096).unwrap().unwrap();
            fdt.set(node(fdt, signature), name, value).unwrap();
        }
    });
    assert!(refuses(&mixed, &KEY).contains("was changed"));
}

#[test]
fn hopeless_and_numberless_signatures_cost_little() {
    let signature = "/configurations/conf-1/signature-1";
    let signed = sign(&unsigned(Kind::Embedded), &KEY);
    // Found before anything is asked about what it covers.
    let short = edited(&signed, |fdt| {
        fdt.set(node(fdt, signature), "value", vec![1; 255]).unwrap();
        assert!(fdt.delete_property(node(fdt, signature), "hashed-strings"));
    });
    let refused = refuses(&short, &KEY);
    assert!(refused.contains("255 bytes, but one of type rsa2048 has 256"), "{refused}");
    let with = |count: usize| {
        edited(&unsigned(Kind::Embedded), |fdt| {
            let configurations = node(fdt, "/configurations");
            for number in 0..count {
                let configuration = fdt.add_node(configurations, &format!("x-{number}")).unwrap();
                fdt.set_string(configuration, "kernel", "kernel-1").unwrap();
            }
        })
    };
    accepts(&sign(&with(1), &KEY), &KEY);
    let many = edited(&with(129), |fdt| {
        for number in 0..129 {
            let configuration = node(fdt, &format!("/configurations/x-{number}"));
            for signature in 0..16 {
                fdt.add_node(configuration, &format!("signature-{signature}")).unwrap();
            }
        }
    });
    let refused = refuses(&many, &KEY);
    assert!(refused.contains("more than 2048 signature nodes in all"), "{refused}");
    let refused = sign_with(&with(2048), &KEY, None).unwrap_err().to_string();
    assert!(refused.contains("more than 2048 signature nodes in all"), "{refused}");
}

#[test]
fn shared_data_is_hashed_once_and_overlaps_are_refused() {
    let fit = edited(&unsigned(Kind::Position), |fdt| {
        let first = node(fdt, "/images/kernel-1");
        let (position, size) = (fdt.u32(first, "data-position"), fdt.u32(first, "data-size"));
        let second = node(fdt, "/images/kernel-2");
        fdt.set_u32(second, "data-position", position.unwrap().unwrap()).unwrap();
        fdt.set_u32(second, "data-size", size.unwrap().unwrap()).unwrap();
    });
    let signed = sign(&fit, &KEY);
    accepts(&signed, &KEY);
    let hashed = std::sync::atomic::AtomicU64::new(0);
    let count = |len| {
        hashed.fetch_add(len, std::sync::atomic::Ordering::Relaxed);
    };
    verify(&signed, "sample", &[KEY.identity().public_key.clone()], &count).unwrap();
    let images = ["fdt-1", "fdt-2", "kernel-1", "ramdisk-1"];
    let expected: usize = images.iter().map(|name| payload(name).len()).sum();
    assert_eq!(hashed.into_inner(), expected as u64);
    let overlap = edited(&signed, |fdt| {
        let second = node(fdt, "/images/kernel-2");
        let size = fdt.u32(second, "data-size").unwrap().unwrap();
        fdt.set_u32(second, "data-size", size - 1).unwrap();
    });
    assert!(refuses(&overlap, &KEY).contains("overlaps another image's in part"));
    let error = sign_with(&overlap, &KEY, None).unwrap_err().to_string();
    assert!(error.contains("overlaps another image's in part"), "{error}");
}

#[test]
fn swapped_images_are_refused() {
    let signed = sign(&unsigned(Kind::Offset), &KEY);
    let swapped = edited(&signed, |fdt| {
        let (first, second) = (node(fdt, "/images/kernel-1"), node(fdt, "/images/kernel-2"));
        let (a, b) = (fdt.u32(first, p::DATA_OFFSET).unwrap(), fdt.u32(second, p::DATA_OFFSET).unwrap());
        fdt.set_u32(first, p::DATA_OFFSET, b.unwrap()).unwrap();
        fdt.set_u32(second, p::DATA_OFFSET, a.unwrap()).unwrap();
    });
    assert!(refuses(&swapped, &KEY).contains("does not match the data"));
    for (offset, expected) in [(0x7fff_0000, "outside the file"), (0x8000_0000, "2 GiB")] {
        let outside = edited(&signed, |fdt| {
            fdt.set_u32(node(fdt, "/images/kernel-1"), p::DATA_OFFSET, offset).unwrap();
        });
        assert!(refuses(&outside, &KEY).contains(expected));
    }
    let cut = &signed[..signed.len() - 9];
    assert!(refuses(cut, &KEY).contains("outside the file"));
}

#[test]
fn what_cannot_be_signed_is_an_error() {
    let error = |change: &dyn Fn(&mut Fdt<'_>)| {
        sign_with(&edited(&unsigned(Kind::Embedded), change), &KEY, None).unwrap_err().to_string()
    };
    let set = |path: &'static str, name: &'static str, value: &'static [u8]| {
        error(&|fdt| fdt.set(node(fdt, path), name, value).unwrap())
    };
    assert!(set("/configurations/conf-1", "fdt", b"fdt-9\0").contains("`fdt-9` in `fdt` that is not there"));
    assert!(set("/images/kernel-1/hash-1", "value", &[0; 32]).contains("does not match the image's data"));
    assert!(set("/images/kernel-1/hash-1", "algo", b"crc64\0").contains("unknown hash algorithm `crc64`"));
    let gone = |path: &'static str| error(&|fdt| fdt.delete_node(node(fdt, path)));
    assert!(gone("/images").contains("`/images` is missing"));
    assert!(gone("/configurations").contains("`/configurations` is missing"));
    assert!(gone("/images/kernel-1").contains("not there"));
    let many = error(&|fdt| {
        for number in 0..97 {
            let hash = fdt.add_node(node(fdt, "/images/kernel-1"), &format!("hash-x{number}")).unwrap();
            fdt.set_string(hash, "algo", "sha256").unwrap();
        }
    });
    assert!(many.contains("more than 32 hash"), "{many}");
    let many = error(&|fdt| {
        let conf = node(fdt, "/configurations/conf-1");
        fdt.set_strings(conf, "loadables", &["kernel-1"; 60]).unwrap();
    });
    assert!(many.contains("more than 100 nodes to be signed"), "{many}");
    let scattered = edited(&unsigned(Kind::Embedded), |fdt| {
        let conf = node(fdt, "/configurations/conf-1");
        for number in 0..3 {
            fdt.set_strings(conf, &format!("more-{number}"), &["kernel-1"; 40]).unwrap();
        }
    });
    let fit = Fit::parse(&scattered).unwrap();
    let many = fit.references(node(&fit.fdt, "/configurations/conf-1")).unwrap_err().to_string();
    assert!(many.contains("more than 100 nodes to be signed"), "{many}");
    let long = error(&|fdt| {
        fdt.add_node(node(fdt, "/images/kernel-1"), &"x".repeat(190)).unwrap();
    });
    assert!(long.contains("longer path"), "{long}");
}

#[test]
fn thousands_of_names_for_one_large_device_tree_cost_no_memory() {
    const POSITION: u32 = 0x2000;
    let len = 12_u32 << 20;
    let mut fit = edited(&empty(0), |fdt| {
        let configurations = fdt.add_node(Fdt::ROOT, "configurations").unwrap();
        let images = fdt.add_node(Fdt::ROOT, "images").unwrap();
        for number in 0..30 {
            let node = fdt.add_node(configurations, &format!("conf-{number}")).unwrap();
            fdt.set_string(node, "fdt", &format!("fdt-{number}")).unwrap();
            let node = fdt.add_node(images, &format!("fdt-{number}")).unwrap();
            fdt.set_u32(node, "data-position", POSITION).unwrap();
            fdt.set_u32(node, "data-size", len).unwrap();
        }
    });
    fit.resize(POSITION as usize, 0);
    let mut tree = payload("fdt-1");
    tree[4..8].copy_from_slice(&len.to_be_bytes());
    tree.resize(len as usize, 0);
    fit.extend(tree);
    let trees = Fit::parse(&fit).unwrap().device_trees().unwrap_err().to_string();
    assert!(trees.contains("more than 134217728 bytes of device trees"), "{trees}");
    let trust = StageTrust { rootfs: None, update_certificate: Some(vec![7; 50]) };
    let error = sign_with(&fit, &KEY, Some(&trust)).unwrap_err().to_string();
    assert!(error.contains("more than 134217728 bytes of device trees"), "{error}");
}

#[test]
fn signatures_over_a_large_root_cost_little() {
    let fit = edited(&unsigned(Kind::Embedded), |fdt| {
        let configurations = node(fdt, "/configurations");
        for number in 0..1000 {
            let configuration = fdt.add_node(configurations, &format!("more-{number}")).unwrap();
            fdt.set_string(configuration, "kernel", "kernel-1").unwrap();
        }
        for number in 0..3000 {
            fdt.set_u32(Fdt::ROOT, &format!("p{number}"), 1).unwrap();
        }
    });
    let error = sign_with(&fit, &KEY, None).unwrap_err().to_string();
    assert!(error.contains("more than 2097152 tags that all signatures cover"), "{error}");
    // Signatures that could be right, but are not.
    let signed = sign(&unsigned(Kind::Embedded), &KEY);
    let copied = |fdt: &Fdt<'_>, name| {
        fdt.bytes(node(fdt, "/configurations/conf-1/signature-1"), name, 1000).unwrap().unwrap()
    };
    let mut copies = Vec::new();
    edited(&signed, |fdt| copies.extend(["algo", "value"].map(|name| (name, copied(fdt, name)))));
    let hostile = edited(&fit, |fdt| {
        let all = u32::try_from(fdt.strings().len()).unwrap();
        for number in 0..1000 {
            let configuration = node(fdt, &format!("/configurations/more-{number}"));
            let signature = fdt.add_node(configuration, "signature-1").unwrap();
            for (name, value) in &copies {
                fdt.set(signature, name, value.clone()).unwrap();
            }
            fdt.set(signature, "hashed-strings", [[0; 4], all.to_be_bytes()].concat()).unwrap();
        }
    });
    let report = report(&hostile, &[&*KEY]).unwrap();
    let said = |what: &str| report.checks.iter().filter(|check| check.detail.contains(what)).count();
    assert!(said("tags that all signatures cover") > 200, "{report:#?}");
    assert!(said("is not by a trusted key, or what it covers was changed") > 600);
}

//! Descriptions as users write them, and hostile ones.

use super::*;
use proptest::prelude::*;

fn digest(name: &str) -> Digest {
    HashAlgorithm::Sha256.digest(name.as_bytes())
}

fn hash(name: &str) -> String {
    digest(name).to_hex()
}

/// Files `*.img`, whose contents are their names.
fn files(name: &str) -> Option<File> {
    let is_given = name.ends_with(".img");
    is_given.then(|| File { len_bytes: name.len() as u64, sha256: digest(name) })
}

fn fill(text: &str) -> Result<String, DescriptionError> {
    let description = Description::parse(text.as_bytes())?;
    let filled = description.fill(&files)?;
    let len = description.filled_len_bytes(&|name| files(name).map(|f| f.len_bytes)).unwrap();
    assert_eq!(filled.len(), len);
    assert_eq!(Description::parse(filled.as_bytes())?.fill(&files)?, filled, "filling twice");
    Ok(filled)
}

/// `body` as the only entry of `images`, in libconfig.
fn entry(body: &str) -> String {
    format!("software = {{ version = \"1\"; images: ( {{ {body} }} ); }};")
}

#[test]
fn every_placeholder_becomes_the_hash() {
    let good = entry(&format!(r#"filename = "a.img"; sha256 = "{}";"#, hash("a.img")));
    for value in [
        r#""$swupdate_get_sha256(a.img)""#,
        r#""$swupdate_get_sha256(deploy/a.img)""#,
        "$swupdate_get_sha256(a.img)",
        r#""@a.img""#,
        r#""""#,
        r#""0000000000000000000000000000000000000000000000000000000000000000""#,
        &format!("\"{}\"", hash("a.img")),
    ] {
        let text = entry(&format!(r#"filename = "a.img"; sha256 = {value};"#));
        assert_eq!(fill(&text).unwrap(), good, "{value}");
    }
}

#[test]
fn a_true_hash_is_kept_as_written() {
    let upper = hash("a.img").to_uppercase();
    let (one, two) = upper.split_at(20);
    let text = entry(&format!("sha256 : \"{one}\" // half\n \"{two}\", filename = \"a.img\""));
    assert_eq!(fill(&text).unwrap(), text);
}

#[test]
fn a_missing_hash_is_inserted_in_the_entrys_style() {
    let hash = hash("a.img");
    for (before, after) in [
        (
            "software:\n{\n\timages = (\n\t\t{\n\t\t\tfilename = \"a.img\"; # the image\n\t\t}\n\t);\n}\n",
            format!(
                "software:\n{{\n\timages = (\n\t\t{{\n\t\t\tfilename = \"a.img\";\n\t\t\tsha256 = \"{hash}\"; # the image\n\t\t}}\n\t);\n}}\n"
            ),
        ),
        (
            "software={images=({filename:\"a.img\"})}",
            format!("software={{images=({{filename:\"a.img\"; sha256:\"{hash}\"}})}}"),
        ),
        (
            "software={images=({filename:\"a\" \".img\", x=1})}",
            format!("software={{images=({{filename:\"a\" \".img\", sha256:\"{hash}\", x=1}})}}"),
        ),
        (
            "software={images=({filename /* = */ = \"a.img\"})}",
            format!("software={{images=({{filename /* = */ = \"a.img\"; sha256 = \"{hash}\"}})}}"),
        ),
        (
            "{\"software\": {\"images\": [\r\n  {\r\n    \"filename\": \"a.img\"\r\n  }]}}",
            format!(
                "{{\"software\": {{\"images\": [\r\n  {{\r\n    \"filename\": \"a.img\",\r\n    \"sha256\": \"{hash}\"\r\n  }}]}}}}"
            ),
        ),
        (
            r#"{"software":{"images":{"type":"raw","filename":"a.img","x":1}}}"#,
            format!(
                r#"{{"software":{{"images":{{"type":"raw","filename":"a.img", "sha256":"{hash}","x":1}}}}}}"#
            ),
        ),
    ] {
        assert_eq!(fill(before).unwrap(), after);
    }
}

#[test]
fn every_section_board_set_and_link_target_counts() {
    let text = r##"
        software = {
            version = "1";
            board: { stable: { a: { images: ( { filename = "a.img"; } ); scripts: ( { filename = "b.img"; } ); };
                               b: { ref = "#./a"; }; }; };
            common: { files: ( { filename = "c.img"; properties: { filename = "inner"; sha256 = "kept"; }; } ); };
            images: ( { ref = "#../common"; }, { filename = "d.img"; }, { device = "no file"; } );
            bootenv: ( { name = "x"; value = "y"; } );
        };
        outside: { filename = "ignored"; };"##;
    let description = Description::parse(text.as_bytes()).unwrap();
    let found: Vec<_> =
        description.artifacts().iter().map(|a| (a.path.as_str(), a.filename.as_str())).collect();
    assert_eq!(
        found,
        [
            ("software.board.stable.a.images[0]", "a.img"),
            ("software.board.stable.a.scripts[0]", "b.img"),
            ("software.common.files[0]", "c.img"),
            ("software.images[1]", "d.img"),
        ]
    );
    assert!(fill(text).unwrap().contains("sha256 = \"kept\""));
}

#[test]
fn sizes_are_filled_in_and_checked() {
    let body =
        |size: &str| entry(&format!("size = {size}; filename = \"a.img\"; sha256 = \"{}\"", hash("a.img")));
    assert_eq!(fill(&body("$swupdate_get_size(a.img)")).unwrap(), body("5"));
    assert_eq!(fill(&body("0x5L")).unwrap(), body("0x5L"));
    let error = fill(&body("6")).unwrap_err();
    assert!(matches!(error, DescriptionError::Size { line: 1, written: 6, actual: 5, .. }), "{error}");
}

#[test]
fn other_settings_take_hashes_of_any_file() {
    let text = entry(r#"filename = "a.img"; sha256 = "@a.img"; data = "x=$swupdate_get_sha256(b.img),y""#);
    assert!(fill(&text).unwrap().contains(&format!("data = \"x={},y\"", hash("b.img"))));
}

#[test]
fn refusals_name_the_line() {
    let wrong = hash("other");
    for (body, expected) in [
        (format!("filename = \"a.img\";\nsha256 = \"{wrong}\""), "line 2: the sha256 of `a.img` is"),
        ("filename = \"a.img\";\nsha256 = \"abc\"".into(), "line 2: the sha256 of `a.img` is neither"),
        ("filename = \"a.img\";\nsha256 = 5".into(), "line 2: the sha256 of `a.img` is neither"),
        (format!("filename = \"a.img\"; sha256 = \" {}\"", &wrong[1..]), "line 1: the sha256"),
        ("\nfilename = \"a.ext4\"".into(), "line 2: `a.ext4` is named, but not given"),
        ("filename = \"a.img\"; sha256 = \"@b.img\"".into(), "line 1: the sha256 of `a.img` is to be that"),
        ("filename = \"d/a.img\"".into(), "line 1: `d/a.img` is not a bare"),
        ("filename = \"\"".into(), "line 1: `` is not a bare"),
        ("filename = 5".into(), "line 1: `5` is not a bare"),
        ("filename = \"@@IMAGE@@.img\"".into(), "line 1: placeholder `@@IMAGE@@` is not filled in"),
        ("\n\nivt = \"$swupdate_get_IV(a.img)\"".into(), "line 3: placeholder `$swupdate_get_IV(a.img)`"),
        ("x = @@X[y]@@".into(), "line 1: placeholder `@@X[y]@@`"),
        ("x = \"$swupdate_get_sha256(gone)\"".into(), "line 1: `gone` is named, but not given"),
        ("x = 1; y = 2;\nx = 3".into(), "line 2: `x` is set twice"),
        ("\n@include \"x\"\n".into(), "line 2: `@include` reads"),
        ("x = ( @include \"x\" )".into(), "line 1: `@include` reads"),
    ] {
        let error = fill(&entry(&body)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{body}: {error}");
    }
}

#[test]
fn scripts_may_look_like_placeholders() {
    let text = entry(r#"filename = "a.img"; embedded-script = "x = '@@y@@' .. '$swupdate_z(a)'""#);
    fill(&text).unwrap();
}

#[test]
fn libconfig_as_the_library_takes_it() {
    for text in [
        "# c\n// d\n/* e\n*/ software = {};",
        "software : { a = 1, b = 2; c = 3 d = 4L; e = 0xffL; f = -1.5e3; g = TRUE; h = [1, 2]; i = (1, \"x\",); }",
        "software = { s = \"a\\n\\x41\\\"\\q\" \"b\"; *x-_1 = \"multi\nline\"; t = [ ]; u = ( ); }",
        "software = { embedded-script = \"\n-- a // comment # inside\n/* a string */\"; }",
    ] {
        let parsed = Description::parse(text.as_bytes());
        assert!(parsed.is_ok(), "{text}: {}", parsed.unwrap_err());
    }
}

#[test]
fn libconfig_that_the_library_refuses() {
    for text in [
        "software = {",
        "software = {};;",
        "software = { a = 1;; }",
        "software = { a = ; }",
        "software = { a 1; }",
        "software = { a = \"x }",
        "software = { a = [ { } ]; }",
        "software = { a = ( 1 2 ); }",
        "software = { true = 1; }",
        "software = { 1a = 1; }",
        "software = { a = 1.0.0; }",
        "software = { a = 'x'; }",
        "software = { a = \"\\x00\"; }",
        "software = {}; /* no end",
        "\u{feff}software = {};",
        "software = {}; \0",
        "software = 5;",
        "",
    ] {
        assert!(Description::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn json_is_taken_strictly() {
    Description::parse(br#" {"software": {"a": [1, -2.5e3, true, null, "\u00e9\n", {}], "b": {}}} "#)
        .unwrap();
    for text in [
        r#"{"software": {}} garbage"#,
        r#"{"software": {}} // comment"#,
        r#"/* comment */ {"software": {}}"#,
        r#"{"software": {"a": 1, "a": 2}}"#,
        r#"{"software": {"a": 1, "\u0061": 2}}"#,
        r#"{"software": {"a": 1,}}"#,
        r#"{"software": {"a": 01}}"#,
        r#"{"software": {"a": "\u0000"}}"#,
        "{\"software\": {\"a\": \"\n\"}}",
        r#"{"software": {"a": 'x'}}"#,
        r#"{"software": []}"#,
        r#"{"software": {"a": "\"#,
        "{",
    ] {
        assert!(Description::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn nesting_and_length_are_bounded() {
    let deep = |depth: usize| format!("software = {{ a = {}{}; }};", "(".repeat(depth), ")".repeat(depth));
    Description::parse(deep(MAX_DEPTH - 1).as_bytes()).unwrap();
    let error = Description::parse(deep(100_000).as_bytes()).unwrap_err();
    assert_eq!(error, DescriptionError::Nesting { line: 1 });
    let error = Description::parse(format!("{{\"software\":{}", "[".repeat(100_000)).as_bytes()).unwrap_err();
    assert_eq!(error, DescriptionError::Nesting { line: 1 });
    let long = vec![b' '; MAX_LEN_BYTES + 1];
    assert!(matches!(Description::parse(&long), Err(DescriptionError::TooLong(_))));
    assert!(matches!(Description::parse(b"software = \xff"), Err(DescriptionError::NotText(11))));
}

#[test]
fn hostile_repetition_takes_no_more_than_its_length() {
    let count = MAX_LEN_BYTES / 40;
    for unit in ["$swupdate_get_sha256(", "$swupdate_", "@@a[", "$", "@@"] {
        let text = format!("software = {{ a = \"{}\"; }};", unit.repeat(count));
        let _ = Description::parse(&text.as_bytes()[..text.len().min(MAX_LEN_BYTES)]);
    }
    let entries = "{filename=\"a.img\"},".repeat(count / 4);
    fill(&format!("software = {{ images = ({entries}); }};")).unwrap();
}

/// Text made of what matters to the parsers.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "software",
        "=",
        ":",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ",",
        ";",
        "\"",
        "\\",
        "filename",
        "sha256",
        "\"a.img\"",
        "\"@a.img\"",
        "$swupdate_get_sha256(a.img)",
        "@include",
        "@@X@@",
        "/*",
        "*/",
        "//",
        "#",
        "\n",
        " ",
        "1",
        "0x",
        "é",
        "true",
        "\"filename\"",
        "\"sha256\"",
        "\"software\"",
        "properties",
        "size",
    ]);
    proptest::collection::vec(fragment, 0..60).prop_map(|f| f.concat())
}

proptest! {
    #[test]
    fn hostile_text_never_panics(text in fragments()) {
        for text in [text.clone(), format!("software = {{{text}}}"), format!("{{\"software\":{{{text}}}}}")] {
            if let Ok(description) = Description::parse(text.as_bytes()) {
                // What is filled in reads back, or there was a reason to refuse.
                prop_assert_ne!(description.fill(&files).err(), Some(DescriptionError::ReadBack));
            }
        }
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Description::parse(&bytes);
    }

    #[test]
    fn filling_changes_hashes_only(
        names in proptest::collection::vec("[a-z]{1,8}\\.img", 1..6),
        blanks in "[ \t\n]{0,5}(#[a-z ]{0,9}\n)?(/\\*[a-z;={}]{0,9}\\*/)?",
    ) {
        let entries: Vec<_> = names
            .iter()
            .map(|n| format!("{blanks}{{{blanks}filename{blanks}={blanks}\"{n}\"{blanks};{blanks}sha256=\"@{n}\"}}"))
            .collect();
        let text = format!("{blanks}software = {{ images = ({}); }}{blanks}", entries.join(","));
        let mut expected = text.clone();
        for name in &names {
            expected = expected.replace(&format!("\"@{name}\""), &format!("\"{}\"", hash(name)));
        }
        prop_assert_eq!(fill(&text).unwrap(), expected);
    }
}

//! The command reference and the JSON reference are what the program says of itself.
//!
//! `HSMSIGN_DOCS=write cargo test --test docs` writes the generated parts anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use clap::CommandFactory as _;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

const MARK: &str = "<!-- What follows is generated: HSMSIGN_DOCS=write cargo test --test docs -->\n";

/// Compares the generated part of a page, or writes it.
fn check(page: &str, generated: &str) {
    let path = root().join("docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, old) = text.split_once(MARK).expect("the page has its mark");
    if std::env::var_os("HSMSIGN_DOCS").is_some_and(|v| v == "write") {
        std::fs::write(&path, format!("{head}{MARK}{generated}")).unwrap();
    } else {
        let hint = "run `HSMSIGN_DOCS=write cargo test --test docs` and look at the difference";
        for (number, (old, new)) in old.lines().zip(generated.lines()).enumerate() {
            assert_eq!(old, new, "line {number} of the generated part of docs/{page} is stale: {hint}");
        }
        assert!(old == generated, "docs/{page} is stale: {hint}");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn command_reference() {
    let mut root = hsmsign::cli::Cli::command().disable_help_subcommand(true);
    root.build();
    let mut text = String::from("\n## Global options\n\n");
    options(&root, true, &mut text);
    commands(&root, "hsmsign", &mut text);
    check("commands.md", &text);
}

fn commands(command: &clap::Command, name: &str, text: &mut String) {
    for below in command.get_subcommands() {
        let name = format!("{name} {}", below.get_name());
        if below.has_subcommands() {
            commands(below, &name, text);
            continue;
        }
        let about = below.get_long_about().or(below.get_about()).unwrap().to_string();
        write!(text, "\n## {name}\n\n{about}.\n\n```\n{}\n```\n\n", usage(below, &name)).unwrap();
        options(below, false, text);
        let example = below.get_after_help().or(below.get_after_long_help());
        let example = example.unwrap_or_else(|| panic!("`{name} --help` has an example")).to_string();
        let lines: Vec<&str> = example.lines().filter(|l| !l.starts_with("Example")).collect();
        let lines: Vec<&str> = lines.iter().map(|l| l.strip_prefix("  ").unwrap_or(l)).collect();
        write!(text, "\n```sh\n{}\n```\n", lines.join("\n")).unwrap();
    }
}

fn usage(command: &clap::Command, name: &str) -> String {
    let usage = command.clone().render_usage().to_string();
    let arguments = usage.split("[OPTIONS]").nth(1).unwrap_or_default().trim().to_owned();
    format!("{name} [OPTIONS] {arguments}").trim().to_owned()
}

fn options(command: &clap::Command, global: bool, text: &mut String) {
    let shown =
        |a: &&clap::Arg| a.is_global_set() == global && !matches!(a.get_id().as_str(), "help" | "version");
    let arguments: Vec<&clap::Arg> = command.get_arguments().filter(shown).collect();
    if arguments.is_empty() {
        return;
    }
    text.push_str("| argument | |\n|---|---|\n");
    for argument in arguments {
        writeln!(text, "| {} | {} |", name(argument), meaning(argument)).unwrap();
    }
}

fn name(argument: &clap::Arg) -> String {
    let takes_value = argument.get_action().takes_values();
    let values = argument.get_value_names().filter(|_| takes_value).unwrap_or_default();
    let value = values.iter().map(|v| format!("{v}")).collect::<Vec<_>>().join(" ");
    let flags =
        [argument.get_short().map(|s| format!("-{s}")), argument.get_long().map(|l| format!("--{l}"))];
    let flags = flags.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let name = format!("{flags} {value}").trim().replace('|', "\\|");
    let many =
        if takes_value && !matches!(argument.get_action(), clap::ArgAction::Set) { " …" } else { "" };
    format!("`{name}`{many}")
}

fn meaning(argument: &clap::Arg) -> String {
    let mut text = argument.get_long_help().or(argument.get_help()).unwrap_or_default().to_string();
    let values: Vec<_> = argument.get_possible_values();
    if !values.is_empty() && argument.get_action().takes_values() {
        let names: Vec<String> = values
            .iter()
            .map(|v| match v.get_help() {
                Some(help) => format!("`{}` ({help})", v.get_name()),
                None => format!("`{}`", v.get_name()),
            })
            .collect();
        text.push_str(&format!(": {}", names.join(", ")));
    }
    let defaults: Vec<_> = argument.get_default_values().iter().map(|d| d.to_string_lossy()).collect();
    if !defaults.is_empty() && argument.get_action().takes_values() {
        text.push_str(&format!(" [default: `{}`]", defaults.join(" ")));
    }
    if let Some(variable) = argument.get_env() {
        text.push_str(&format!(" [env: `{}`]", variable.to_string_lossy()));
    }
    text.replace('\n', " ").replace('|', "\\|")
}

/// Which result each command prints, and where its structure is defined.
const RESULTS: &[(&str, &str, &str)] = &[
    ("init", "src/cli/init.rs", "Done"),
    ("doctor", "src/cli/doctor/mod.rs", "Diagnosis"),
    ("keys list", "src/cli/keys/list.rs", "List"),
    ("keys check", "src/cli/keys/check.rs", "Checked"),
    ("keys generate", "src/cli/keys/make.rs", "Generated"),
    ("keys public, keys certificate, keys csr", "src/cli/keys/export.rs", "Exported"),
    ("keys pin", "src/cli/keys/make.rs", "Pin"),
    ("keys unlatch", "src/cli/keys/unlatch.rs", "Unlatched"),
    ("audit show", "src/cli/audit.rs", "Shown"),
    ("audit verify", "src/cli/audit.rs", "Verified"),
    ("sign fit", "src/cli/fit.rs", "SignedFit"),
    ("sign bootloader", "src/cli/bootloader.rs", "SignedBootloader"),
    ("sign rootfs", "src/cli/rootfs/sign.rs", "Signed"),
    ("OUT.verity.json of sign rootfs", "src/format/verity/description.rs", "Description"),
    ("sign swu", "src/cli/swu/sign.rs", "Signed"),
    ("sign blob", "src/cli/blob.rs", "Signed"),
    ("agent --status", "src/agent/protocol.rs", "Status"),
    ("scan", "src/cli/scan.rs", "ScanResult"),
    ("verify fit, bootloader, rootfs, swu, blob", "src/report.rs", "Report"),
    ("verify deploy", "src/gate/outcome.rs", "GateReport"),
];

#[test]
fn json_reference() {
    let sources = sources(&root().join("signer/src"));
    let all: BTreeMap<(&Path, &str), Structure> =
        sources.iter().flat_map(|(path, text)| structures(path, text)).collect();
    let mut text = String::new();
    for (command, file, name) in RESULTS.iter().copied() {
        let path = root().join("signer").join(file);
        let structure = all.get(&(path.as_path(), name)).unwrap_or_else(|| panic!("{file} has no {name}"));
        write!(text, "\n## {command}\n\n{}\n", structure.doc).unwrap();
        table(structure, &path, &all, &mut text, &mut vec![name.to_owned()]);
    }
    check("json.md", &text);
}

struct Structure {
    doc: String,
    /// Name, type, meaning.
    fields: Vec<(String, String, String)>,
}

fn sources(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| match path.is_dir() {
        true => sources(&path),
        false => vec![(path.clone(), std::fs::read_to_string(&path).unwrap())],
    };
    paths.into_iter().flat_map(read).collect()
}

/// Structures that serde writes, as they stand in formatted source.
fn structures<'a>(path: &'a Path, text: &'a str) -> Vec<((&'a Path, &'a str), Structure)> {
    let mut found = Vec::new();
    let mut doc = String::new();
    let mut serialized = false;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(sentence) = line.strip_prefix("///") {
            doc.push_str(sentence);
        } else if line.starts_with("#[") {
            serialized |= line.contains("Serialize");
        } else {
            let name = line.split("struct ").nth(1).and_then(|l| l.strip_suffix(" {"));
            if let (true, Some(name)) = (serialized, name) {
                let fields = fields(&mut lines);
                found.push(((path, name), Structure { doc: doc.trim().to_owned(), fields }));
            }
            doc.clear();
            serialized = false;
        }
    }
    found
}

fn fields<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<(String, String, String)> {
    let mut fields = Vec::new();
    let mut doc = String::new();
    for line in lines.take_while(|l| *l != "}").map(str::trim) {
        if let Some(sentence) = line.strip_prefix("///") {
            doc.push_str(sentence);
        } else if let Some((name, kind)) = line.strip_suffix(',').and_then(|l| l.split_once(": ")) {
            let name = name.rsplit(' ').next().unwrap_or(name);
            fields.push((name.to_owned(), kind.to_owned(), doc.trim().to_owned()));
            doc.clear();
        }
    }
    fields
}

fn table(
    structure: &Structure,
    path: &Path,
    all: &BTreeMap<(&Path, &str), Structure>,
    text: &mut String,
    shown: &mut Vec<String>,
) {
    text.push_str("\n| field | type | |\n|---|---|---|\n");
    let mut below = Vec::new();
    rows(structure, path, all, text, &mut below);
    for name in below {
        if !shown.contains(&name) {
            shown.push(name.clone());
            let structure = find(&name, path, all).unwrap();
            write!(text, "\n`{name}`: {}\n", structure.doc).unwrap();
            table(structure, path, all, text, shown);
        }
    }
}

fn rows(
    structure: &Structure,
    path: &Path,
    all: &BTreeMap<(&Path, &str), Structure>,
    text: &mut String,
    below: &mut Vec<String>,
) {
    for (name, kind, doc) in &structure.fields {
        // `#[serde(flatten)]`: its fields stand among these.
        if let ("placed", Some(inner)) = (name.as_str(), find(kind, path, all)) {
            rows(inner, path, all, text, below);
            continue;
        }
        writeln!(text, "| `{name}` | {} | {} |", json_type(kind, path, all, below), doc.replace('|', "\\|"))
            .unwrap();
    }
}

/// The structure of that name in the same file, else anywhere.
fn find<'a>(name: &str, path: &Path, all: &'a BTreeMap<(&Path, &str), Structure>) -> Option<&'a Structure> {
    let named = || all.iter().filter(|((_, n), _)| *n == name);
    named().find(|((p, _), _)| *p == path).or_else(|| named().next()).map(|(_, s)| s)
}

/// What serde makes of a Rust type.
fn json_type(
    kind: &str,
    path: &Path,
    all: &BTreeMap<(&Path, &str), Structure>,
    below: &mut Vec<String>,
) -> String {
    let within = |kind: &'_ str, outer: &str| -> Option<String> {
        kind.strip_prefix(outer)?.strip_prefix('<')?.strip_suffix('>').map(str::to_owned)
    };
    if let Some(inner) = within(kind, "Option") {
        return format!("{} or null", json_type(&inner, path, all, below));
    }
    if let Some(inner) = within(kind, "Vec") {
        return format!("array of {}", json_type(&inner, path, all, below));
    }
    match kind {
        "String" | "PathBuf" | "&'static str" => "string".into(),
        "bool" => "boolean".into(),
        "u32" | "u64" | "usize" => "number".into(),
        "(u64, u64)" => "array of 2 numbers".into(),
        "Role" => "`bootloader`, `fit`, `rootfs`, `update`".into(),
        "Mode" => "`off`, `dev`, `release`".into(),
        // The text of the field names them.
        "LeakKind" | "Fingerprint" => "string".into(),
        "Verdict" => "`pass`, `warn`, `fail`".into(),
        "State" => "`signed`, `covered`, `part`, `excepted`, `by-product`, `failed`".into(),
        "LinkState" => "`holds`, `missing`, `broken`".into(),
        "ProblemKind" => {
            "`private-key`, `development`, `example-key`, `bad-signature`, `trust-anchor`, `chain`, `unknown-key`, \
             `unsigned`, `cannot-check`, `outside`"
                .into()
        }
        "Head" => "string".into(),
        "Record" => "record as in the [audit log](audit-log.md#format)".into(),
        "Placement" => "`appended`, `separate`".into(),
        "std::collections::BTreeMap<Role, String>" => "object: string per role".into(),
        name if find(name, path, all).is_some() => {
            below.push(name.to_owned());
            format!("`{name}`")
        }
        other => panic!("what does `{other}` look like in JSON? say it in tests/docs.rs"),
    }
}

/// Each promise names tests that exist, by file and function.
#[test]
fn tests_that_security_md_names_exist() {
    let text = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit())
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let numbers: Vec<&str> = rows.iter().map(|row| row[0]).take(12).collect();
    assert_eq!(
        numbers,
        (1..=12).map(|n| n.to_string()).collect::<Vec<_>>(),
        "first a row for each invariant"
    );
    // Parts of the program that serve several invariants have rows of their own behind these.
    for row in rows {
        assert_eq!(row.len(), 5, "promise, mechanism, test, limit: {row:?}");
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        let named: Vec<&str> = code_spans(row[3]).collect();
        assert!(named.iter().any(|span| span.contains("::")), "names a test: {}", row[3]);
        for span in named {
            assert!(
                is_test(span),
                "docs/security.md names `{span}`: no test `file::function`, nor a fuzz target"
            );
        }
    }
    let tried = std::fs::read_to_string(root().join("docs/security-tests.md")).unwrap();
    for span in code_spans(&text).chain(code_spans(&tried)) {
        let is_named = span.contains("tests/") || span.starts_with("src/");
        assert!(!is_named || is_test(span), "no test `file::function`: `{span}`");
    }
}

fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether `name` is a function in one of our tests, a type whose examples must not compile, or a fuzz target.
fn is_test(name: &str) -> bool {
    let Some((file, name)) = name.split_once("::") else {
        return root().join("signer/fuzz/fuzz_targets").join(format!("{name}.rs")).exists();
    };
    let texts = [root().join("signer").join(file), root().join(file)].map(std::fs::read_to_string);
    let Some(text) = texts.into_iter().find_map(Result::ok) else { return false };
    let must_not_compile = text.contains(&format!("struct {name}<")) && text.contains("```compile_fail");
    text.contains(&format!("fn {name}(")) || text.contains(&format!("def {name}(")) || must_not_compile
}

//! `init`: a commented `hsmsign.yaml` and the dev token.

use super::{
    Context, Output,
    options::Global,
    settings::{Given, Settings, Surroundings},
};
use crate::{
    config::Config,
    error::Error,
    io::AtomicFile,
    key::dev::DevToken,
    policy::{Mode, Policy},
    request::Role,
};
use serde::Serialize;
use std::{io::Write as _, path::Path};

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hsmsign init --product acme-gateway")]
pub struct InitArgs {
    /// The product's name [default: this directory's name]
    #[arg(long, value_name = "NAME")]
    product: Option<String>,
}

/// What `init` did.
#[derive(Serialize)]
struct Done {
    /// The policy file.
    policy: String,
    /// Whether it was written now; one that stood there is kept.
    policy_written: bool,
    /// The dev directory; null in mode `off` and `release`.
    dev_dir: Option<String>,
    /// Fingerprint of each role's dev key, `sha256:…`.
    dev_keys: std::collections::BTreeMap<Role, String>,
}

pub(super) fn run(mut global: Global, given: &Given, args: &InitArgs, output: &Output) -> Result<(), Error> {
    let around = Surroundings::of_process();
    let mut settings = Settings::resolve(&global, given, &around)?;
    if settings.policy_file.is_none() {
        // From now on as if it stood there: the dev directory belongs beside it.
        global.config = Some(around.directory.join("hsmsign.yaml"));
        settings = Settings::resolve(&global, given, &around)?;
    }
    // Starting again comes before anything is written.
    if let (Mode::Dev, Some(directory)) = (settings.mode.value, &settings.dev_dir) {
        DevToken::ensure_clean_environment(&directory.value)?;
    }
    let Some(file) = settings.policy_file.as_ref().map(|f| f.value.clone()) else {
        return Err(Error::Internal("init without a place for the policy".into()));
    };
    let policy_written = !file.exists();
    if policy_written {
        let product = args.product.clone().unwrap_or_else(|| product_from(&file));
        write_policy(&file, &product)?;
    }
    let context = Context::new(&global, given, output)?;
    let mut done = Done {
        policy: file.display().to_string(),
        policy_written,
        dev_dir: None,
        dev_keys: std::collections::BTreeMap::new(),
    };
    if let Policy::Dev(_) = context.policy() {
        for role in Role::ALL {
            let key = context.signer(role)?;
            done.dev_keys.insert(role, key.identity().public_key.fingerprint());
        }
        done.dev_dir = Some(context.dev_dir()?.display().to_string());
    }
    output.result(&done, || human(&done))
}

fn human(done: &Done) -> String {
    let policy = &done.policy;
    let mut text = match done.policy_written {
        true => format!("wrote {policy}\n"),
        false => format!("{policy} stands there already and was kept\n"),
    };
    if let Some(directory) = &done.dev_dir {
        text.push_str(&format!("dev keys in {directory}\n"));
    }
    for (role, fingerprint) in &done.dev_keys {
        text.push_str(&format!("  {role:<10} {fingerprint}\n"));
    }
    text
}

/// The directory's name, as far as a product may have it.
fn product_from(file: &Path) -> String {
    let absolute = std::path::absolute(file).unwrap_or_default();
    let name = absolute.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = name.unwrap_or_default().chars().filter(fits).take(40).collect();
    if name.is_empty() { "unnamed".into() } else { name }
}

fn write_policy(path: &Path, product: &str) -> Result<(), Error> {
    let text = template(product);
    // What we write we must be able to read; only a product's name can spoil it.
    Config::parse(&text).map_err(|fault| Error::Usage {
        message: format!("`--product`: {fault}"),
        hint: fault.hint.or_else(|| Some("choose another name".into())),
    })?;
    let mut file = AtomicFile::create(path)?;
    file.write_all(text.as_bytes()).map_err(Error::file("write", path))?;
    file.commit()
}

/// The commented policy.
fn template(product: &str) -> String {
    // JSON's strings are YAML's double-quoted ones.
    let product = serde_json::Value::from(product);
    format!(
        r#"# What signs {product}'s firmware. Reviewed like code: no secret and no path of a machine belongs here.
# docs/keys-and-modes.md explains every line.
version: 1
product: {product}

# What each role signs with, in dev and in release.
# algorithm: rsa2048, rsa3072, rsa4096, ecdsa-p256, ecdsa-p384
# padding:   pkcs1 (default), pss (not for rootfs: the kernel's PKCS#7 knows no PSS)
# hash:      sha256 (default), sha384 (default of ecdsa-p384), sha512
# format:    of update alone: cms (default), rsa, rsa-pss
roles:
  bootloader: {{ algorithm: rsa4096 }}
  fit: {{ algorithm: rsa2048 }}
  rootfs: {{ algorithm: rsa2048 }}
  update: {{ algorithm: rsa4096, format: cms }}

# Where the release keys are, and which ones. Dev mode reads of it only which keys to refuse.
#
# release:
#   keys:
#     update:
#       token: factory                       # a name that this machine's host settings resolve
#       uri: "pkcs11:token=ACME;object=update-2026"
#       pins: ["sha256:…"]                   # `hsmsign --mode release keys pin --role update` prints it
#       certificate: certs/update-2026.pem   # needed for rootfs and update
#   rehearsal: true                          # for a trial with a software token; never ship what it signs
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_policy_for_any_product() {
        for product in ["acme-gateway", "a: b # c", "\"quoted\"", "%", "Größe", "- x"] {
            assert_eq!(Config::parse(&template(product)).unwrap().product, product);
        }
    }

    #[test]
    fn the_commented_part_is_a_policy_too() {
        let text = template("x")
            .replace("\n# release:", "\nrelease:")
            .replace("\n#   ", "\n  ")
            .replace("sha256:…", &format!("sha256:{}", "0".repeat(64)));
        assert!(Config::parse(&text).unwrap().release.unwrap().rehearsal);
    }
}

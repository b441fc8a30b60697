//! `doctor`: what is configured, reachable, wrong, and how to mend it.

mod dev;
mod release;

use super::{
    Output,
    options::Global,
    settings::{Given, PolicyFile, Resolved, Settings, Surroundings},
};
use crate::{
    config::ConfigError,
    error::Error,
    policy::{Mode, Policy},
    report::Verdict,
};
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hsmsign --mode release doctor")]
pub struct DoctorArgs {}

/// What `doctor` found.
#[derive(Debug, Default, Serialize)]
struct Diagnosis {
    /// Every setting with where it came from.
    settings: Vec<Setting>,
    /// Every check in the order it was made.
    findings: Vec<Finding>,
}

/// One setting.
#[derive(Debug, Serialize)]
struct Setting {
    /// Its name, as the option is called.
    name: &'static str,
    /// Its value; null if there is none.
    value: Option<String>,
    /// `command line`, `environment: NAME`, `default`, or where a file was found.
    origin: String,
}

/// One check.
#[derive(Debug, Serialize)]
struct Finding {
    /// `pass`, `warn`, or `fail`; a failure makes the exit code 3.
    verdict: Verdict,
    /// What was looked at.
    subject: String,
    /// What was found.
    detail: String,
    /// How to mend it.
    remedy: Option<String>,
}

impl Diagnosis {
    fn add(&mut self, verdict: Verdict, subject: &str, detail: impl Into<String>, remedy: Option<String>) {
        self.findings.push(Finding { verdict, subject: subject.into(), detail: detail.into(), remedy });
    }

    fn pass(&mut self, subject: &str, detail: impl Into<String>) {
        self.add(Verdict::Pass, subject, detail, None);
    }

    fn warn(&mut self, subject: &str, detail: impl Into<String>, remedy: &str) {
        self.add(Verdict::Warn, subject, detail, Some(remedy.into()));
    }

    fn fail(&mut self, subject: &str, detail: impl Into<String>, remedy: &str) {
        self.add(Verdict::Fail, subject, detail, Some(remedy.into()));
    }

    fn fail_error(&mut self, subject: &str, error: &Error) {
        let mut detail = error.to_string();
        if let Some((file, place)) = error.place() {
            detail.push_str(&format!(" ({}:{}:{})", file.display(), place.line, place.column));
        }
        let detail = detail.strip_prefix(&format!("{subject}: ")).unwrap_or(&detail);
        self.add(Verdict::Fail, subject, detail, error.hint());
    }
}

pub(super) fn run(global: &Global, given: &Given, output: &Output) -> Result<(), Error> {
    let settings = Settings::resolve(global, given, &Surroundings::of_process())?;
    let mut diagnosis = Diagnosis { settings: list(&settings), findings: Vec::new() };
    match settings.load_policy() {
        Ok(file) => examine(&settings, &file, &mut diagnosis)?,
        Err(error) => diagnosis.fail_error("policy", &error),
    }
    output.result(&diagnosis, || human(&diagnosis))?;
    match diagnosis.findings.iter().filter(|f| f.verdict == Verdict::Fail).count() {
        0 => Ok(()),
        1 => Err(ConfigError::Setup { message: "doctor found a problem".into(), hint: None }.into()),
        n => Err(ConfigError::Setup { message: format!("doctor found {n} problems"), hint: None }.into()),
    }
}

fn list(settings: &Settings) -> Vec<Setting> {
    let path = |name, resolved: &Option<Resolved<PathBuf>>| Setting {
        name,
        value: resolved.as_ref().map(|r| r.value.display().to_string()),
        origin: resolved.as_ref().map_or_else(|| "default".into(), |r| r.origin.to_string()),
    };
    let mode = Setting {
        name: "mode",
        value: Some(settings.mode.value.to_string()),
        origin: settings.mode.origin.to_string(),
    };
    let mut list = vec![mode, path("config", &settings.policy_file)];
    match settings.mode.value {
        Mode::Off => {}
        Mode::Dev => list.extend([path("dev-dir", &settings.dev_dir), path("softhsm", &settings.softhsm)]),
        Mode::Release => {
            list.extend([path("host-config", &settings.host_file), path("agent", &settings.agent)]);
        }
    }
    list
}

fn examine(settings: &Settings, file: &PolicyFile, diagnosis: &mut Diagnosis) -> Result<(), Error> {
    match &file.path {
        Some(path) => diagnosis.pass("policy", format!("`{}` is valid", path.display())),
        None => diagnosis.warn(
            "policy",
            "there is no hsmsign.yaml here or above, so defaults apply",
            "hsmsign init writes a commented one",
        ),
    }
    match Policy::new(settings.mode.value, file.config.clone()) {
        Ok(Policy::Off) => diagnosis.pass("mode", "off: nothing is signed"),
        Ok(Policy::Dev(policy)) => dev::examine(settings, file, &policy, diagnosis)?,
        Ok(Policy::Release(policy)) => release::examine(settings, file, &policy, diagnosis),
        Err(refusal) => diagnosis.fail_error("policy", &refusal.into()),
    }
    Ok(())
}

fn human(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for setting in &diagnosis.settings {
        let value = setting.value.as_deref().unwrap_or("none");
        text.push_str(&format!("{:<12} {value}  ({})\n", setting.name, setting.origin));
    }
    text.push('\n');
    for finding in &diagnosis.findings {
        let mark = match finding.verdict {
            Verdict::Pass => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        text.push_str(&format!("{mark} {}: {}\n", finding.subject, finding.detail));
        if let Some(remedy) = &finding.remedy {
            text.push_str(&format!("     remedy: {remedy}\n"));
        }
    }
    text
}

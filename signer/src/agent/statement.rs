//! What a policy demands of release signatures, in a form that two parties can compare.

use crate::{
    config::UpdateFormat,
    crypto::HashAlgorithm,
    policy::{Certificates, ReleasePolicy},
    vocabulary::Role,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a policy demands. Comments and order in the file do not matter, values do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// `product`.
    pub product: String,
    /// `release.rehearsal`.
    pub rehearsal: bool,
    /// Roles that have a release key.
    pub roles: BTreeMap<Role, RoleStatement>,
}

/// What a policy demands of one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleStatement {
    /// `algorithm`, such as `rsa2048`.
    pub key_type: String,
    /// `padding` and `hash`, such as `rsa-pss-sha256`.
    pub algorithm: String,
    /// `format`, of the update role alone.
    pub format: Option<UpdateFormat>,
    /// `token`.
    pub token: String,
    /// `uri`.
    pub uri: String,
    /// `pins`, sorted.
    pub pins: Vec<String>,
    /// `serial`.
    pub serial: Option<String>,
    /// Whether `accept: [imported]` is given.
    pub imported: bool,
    /// SHA-256 of each certificate, DER, the key's own first.
    pub certificates: Vec<String>,
}

impl Statement {
    /// What `policy` demands, for the product of that name, with what its certificate files hold.
    #[must_use]
    pub fn new(product: &str, policy: &ReleasePolicy, certificates: &BTreeMap<Role, Certificates>) -> Self {
        let role = |role: Role| {
            let (key, settings) = (policy.key(role).ok()?, policy.role(role));
            let mut pins: Vec<String> = key.pins.iter().map(ToString::to_string).collect();
            pins.sort();
            let statement = RoleStatement {
                key_type: settings.key_type.to_string(),
                algorithm: settings.algorithm().to_string(),
                format: settings.update_format,
                token: key.token.clone(),
                uri: key.uri.clone(),
                pins,
                serial: key.serial.clone(),
                imported: key.accept_imported,
                certificates: certificates.get(&role).map(fingerprints).unwrap_or_default(),
            };
            Some((role, statement))
        };
        Self {
            product: product.to_owned(),
            rehearsal: policy.is_rehearsal(),
            roles: Role::ALL.into_iter().filter_map(role).collect(),
        }
    }

    /// Every value in which `self`, the client's, and the `agent`'s differ, as a sentence each.
    #[must_use]
    pub fn differences(&self, agent: &Self) -> Vec<String> {
        let mut found = Differences(Vec::new());
        found.compare("`product`", &self.product, &agent.product);
        found.compare("`release.rehearsal`", &self.rehearsal, &agent.rehearsal);
        for role in Role::ALL {
            match (self.roles.get(&role), agent.roles.get(&role)) {
                (Some(here), Some(there)) => found.compare_roles(role, here, there),
                (Some(_), None) => found.0.push(format!("the agent's policy has no key for role `{role}`")),
                (None, Some(_)) => {
                    found.0.push(format!("this policy has no key for role `{role}`, the agent's has"))
                }
                (None, None) => {}
            }
        }
        found.0
    }
}

fn fingerprints(certificates: &Certificates) -> Vec<String> {
    let all = std::iter::once(&certificates.certificate).chain(&certificates.chain);
    all.map(|der| format!("sha256:{}", HashAlgorithm::Sha256.digest(der).to_hex())).collect()
}

struct Differences(Vec<String>);

impl Differences {
    fn compare<T: Serialize + PartialEq>(&mut self, what: &str, here: &T, there: &T) {
        if here != there {
            let show = |value| serde_json::to_string(value).unwrap_or_default();
            self.0.push(format!("{what} is {} here and {} at the agent", show(here), show(there)));
        }
    }

    fn compare_roles(&mut self, role: Role, here: &RoleStatement, there: &RoleStatement) {
        let of_role = |key: &str| format!("`roles.{role}.{key}`");
        let of_key = |key: &str| format!("`release.keys.{role}.{key}`");
        self.compare(&of_role("algorithm"), &here.key_type, &there.key_type);
        self.compare(&format!("role `{role}`: padding and hash"), &here.algorithm, &there.algorithm);
        self.compare(&of_role("format"), &here.format, &there.format);
        self.compare(&of_key("token"), &here.token, &there.token);
        self.compare(&of_key("uri"), &here.uri, &there.uri);
        self.compare(&of_key("pins"), &here.pins, &there.pins);
        self.compare(&of_key("serial"), &here.serial, &there.serial);
        self.compare(&format!("role `{role}`: `accept: [imported]`"), &here.imported, &there.imported);
        self.compare(
            &format!("role `{role}`: certificate and chain"),
            &here.certificates,
            &there.certificates,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement {
        let role = RoleStatement {
            key_type: "rsa2048".into(),
            algorithm: "rsa-pkcs1-v1_5-sha256".into(),
            format: None,
            token: "hsm".into(),
            uri: "pkcs11:token=a;object=b".into(),
            pins: vec!["sha256:00".into()],
            serial: None,
            imported: false,
            certificates: Vec::new(),
        };
        Statement { product: "p".into(), rehearsal: false, roles: [(Role::Fit, role)].into() }
    }

    #[test]
    fn equal_policies_have_no_difference() {
        assert!(statement().differences(&statement()).is_empty());
    }

    #[test]
    fn each_value_is_named_with_both_sides() {
        let here = statement();
        let with = |change: fn(&mut Statement)| {
            let mut there = statement();
            change(&mut there);
            here.differences(&there).join("; ")
        };
        assert_eq!(with(|s| s.product = "q".into()), "`product` is \"p\" here and \"q\" at the agent");
        assert!(with(|s| s.rehearsal = true).contains("`release.rehearsal` is false here and true"));
        assert!(with(|s| s.roles.clear()).contains("no key for role `fit`"));
        type Change = fn(&mut RoleStatement);
        let role: [(Change, &str); 9] = [
            (|r| r.key_type = "rsa4096".into(), "`roles.fit.algorithm`"),
            (|r| r.algorithm = "rsa-pss-sha256".into(), "padding and hash"),
            (|r| r.format = Some(UpdateFormat::Cms), "`roles.fit.format`"),
            (|r| r.token = "other".into(), "`release.keys.fit.token`"),
            (|r| r.uri = "pkcs11:".into(), "`release.keys.fit.uri`"),
            (|r| r.pins.push("sha256:11".into()), "`release.keys.fit.pins`"),
            (|r| r.serial = Some("1".into()), "`release.keys.fit.serial`"),
            (|r| r.imported = true, "imported"),
            (|r| r.certificates.push("sha256:22".into()), "certificate"),
        ];
        for (change, expected) in role {
            let mut there = statement();
            change(there.roles.get_mut(&Role::Fit).unwrap());
            let found = here.differences(&there);
            assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
        }
    }
}
